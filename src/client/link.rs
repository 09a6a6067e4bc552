//! The `Link` header (RFC 8288), as far as paging needs it.

/// The target of the first link in `header` whose relation is `next`.
pub fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, after_target) = rest.strip_prefix('<')?.split_once('>')?;
        let (rel, after_link) = relation(after_target);
        if rel.split_ascii_whitespace().any(|name| name.eq_ignore_ascii_case("next")) {
            return Some(target);
        }
        rest = after_link;
    }
}

/// The first `rel` among the parameters that follow a target, and what comes after the link.
fn relation(parameters: &str) -> (&str, &str) {
    let mut rel = None;
    let mut rest = parameters.trim_start();
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start();
        let name_end = parameter.find(['=', ';', ',']).unwrap_or(parameter.len());
        let (name, after_name) = parameter.split_at(name_end);
        let (value, after_value) = match after_name.strip_prefix('=') {
            Some(text) => value(text.trim_start()),
            None => ("", after_name),
        };
        if name.trim_end().eq_ignore_ascii_case("rel") {
            // The RFC: of several, the first one counts.
            rel = rel.or(Some(value));
        }
        rest = after_value.trim_start();
    }
    (rel.unwrap_or_default(), rest)
}

/// A parameter's value, quoted or not, and what follows. No relation's name needs an escape: none is undone.
fn value(text: &str) -> (&str, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([';', ',']).unwrap_or(text.len()));
        return (value.trim_end(), rest);
    };
    let mut is_escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            '"' if !is_escaped => return (&quoted[..at], &quoted[at + 1..]),
            _ => is_escaped = character == '\\' && !is_escaped,
        }
    }
    (quoted, "")
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn the_next_link_is_found_among_others() {
        for header in [
            r#"</e?after=2>; rel="next""#,
            "</e?after=2>;rel=next",
            r#"</e?after=2> ; title="a, <b>; \" c" ; REL = "prefetch NEXT""#,
            r#"</first>; rel="first", </e?after=2>; rel="next""#,
            r#"</x>; title="rel=next", </e?after=2>; rel="next"; rel="first""#,
            "</x>, , </e?after=2>; crossorigin; rel=next",
        ] {
            assert_eq!(next(header), Some("/e?after=2"), "{header}");
        }
    }

    #[test]
    fn what_is_no_next_link_is_none() {
        for header in ["", "garbage", "</e", "</e>", r#"</e>; rel="nextish""#, r#"</e>; rel="a"; rel="next""#]
        {
            assert_eq!(next(header), None, "{header}");
        }
    }
}
