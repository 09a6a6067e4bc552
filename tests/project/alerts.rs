//! What to be woken for is told with what to do, and asks for metrics that there are.

use std::{collections::BTreeSet, fs};

use crate::package_root;

fn read(name: &str) -> String {
    fs::read_to_string(package_root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The words of a text that begin so.
fn words_with(text: &str, beginning: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.len() > beginning.len() && word.starts_with(beginning))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documentation_says_of_each_alert_what_to_do() {
    let rules = read("compose/alerts.yml");
    let alerts: BTreeSet<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    assert!(alerts.len() > 8, "{alerts:?}");
    let documentation = read("docs/operations.md");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `Sekali"));
    let told = rows.filter_map(|row| row.split('`').next()).map(|name| format!("Sekali{name}"));
    assert_eq!(told.collect::<BTreeSet<_>>(), alerts);
}

/// That the documentation names the metrics that there are is held by tests/api/metrics.rs.
#[test]
fn alerts_and_dashboard_ask_for_metrics_that_are_documented() {
    let documented = words_with(&read("docs/operations.md"), "sekali_");
    for file in ["compose/alerts.yml", "compose/grafana/sekali.json"] {
        let asked = words_with(&read(file), "sekali_");
        assert!(asked.len() > 5, "{asked:?}");
        for name in asked {
            let metric = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(
                documented.contains(metric),
                "{file} asks for {name}, which docs/operations.md does not name"
            );
        }
    }
}
