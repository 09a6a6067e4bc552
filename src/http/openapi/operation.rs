//! What is told of one method at one address.

use actix_web::http::Method;
use serde_json::{Map, Value, json};

use super::problems::{BODY, COMMON, answers_with};
use crate::http::{problem::Kind, rights::Needs, routes::PROBES};

/// A method at an address, as a client sees it. What it needs of a key comes from the table of routes.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    says: &'static str,
    parameters: &'static [&'static str],
    body: Option<Value>,
    answers: Vec<(u16, Value)>,
    problems: Vec<Kind>,
}

/// A media type, and the name of the schema of what is in it.
pub(super) type Content = (&'static str, &'static str);

pub(super) fn json(schema: &'static str) -> [Content; 1] {
    [("application/json", schema)]
}

impl Operation {
    /// `id` is the name that generators of clients take.
    pub(super) fn new(
        tag: &'static str,
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            id,
            tag,
            summary,
            says: "",
            parameters: &[],
            body: None,
            answers: Vec::new(),
            problems: COMMON.to_vec(),
        }
    }

    /// What the summary leaves open.
    pub(super) fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    /// Parameters of the components, by their names there.
    pub(super) fn takes(self, parameters: &'static [&'static str]) -> Self {
        Self { parameters, ..self }
    }

    /// A JSON body. An optional one has a default for each field.
    pub(super) fn reads(mut self, schema: &'static str, is_required: bool, examples: Value) -> Self {
        self.body = Some(json!({
            "required": is_required,
            "content": {"application/json": {"schema": reference("schemas", schema), "examples": examples}},
        }));
        self.fails(&BODY)
    }

    /// A success.
    pub(super) fn answers(
        mut self,
        status: u16,
        description: &'static str,
        headers: &[&'static str],
        content: &[Content],
    ) -> Self {
        let headers = headers_of(headers.iter().copied());
        let mut answer = json!({"description": description, "headers": headers});
        if !content.is_empty() {
            let of = |(media_type, schema): &Content| {
                ((*media_type).to_owned(), json!({"schema": reference("schemas", schema)}))
            };
            answer["content"] = Value::Object(content.iter().map(of).collect());
        }
        self.answers.push((status, answer));
        self
    }

    /// The problems beside those that every address has.
    pub(super) fn fails(mut self, problems: &[Kind]) -> Self {
        self.problems.extend(problems);
        self
    }

    /// The value in the document; `is_named` where the namespace stands in the address. Adds what it refers to to the
    /// answers of the components.
    pub(super) fn document(
        &self,
        needs: Needs,
        is_named: bool,
        components: &mut Map<String, Value>,
    ) -> Value {
        let mut answers: Map<String, Value> =
            self.answers.iter().map(|(status, answer)| (status.to_string(), answer.clone())).collect();
        for (status, name, answer) in answers_with(self.all_problems(needs, is_named)) {
            answers.entry(status).or_insert_with(|| reference("responses", &name));
            components.insert(name, answer);
        }
        let id = if is_named { format!("{}InNamespace", self.id) } else { self.id.to_owned() };
        let mut document =
            json!({"operationId": id, "tags": [self.tag], "summary": self.summary, "responses": answers});
        let says = [self.says, key_of(needs)].into_iter().filter(|text| !text.is_empty());
        let says = says.collect::<Vec<_>>().join(" ");
        if !says.is_empty() {
            document["description"] = says.into();
        }
        if !self.parameters.is_empty() {
            let parameters = self.parameters.iter().map(|name| reference("parameters", name));
            document["parameters"] = parameters.collect();
        }
        if let Some(body) = &self.body {
            document["requestBody"] = body.clone();
        }
        document["security"] = match needs.scope() {
            Some(scope) => json!([{"key": [scope.name()]}]),
            None => json!([]),
        };
        document
    }

    fn all_problems(&self, needs: Needs, is_named: bool) -> Vec<Kind> {
        let mut problems = self.problems.clone();
        if is_named {
            problems.extend([Kind::NoNamespace, Kind::InvalidParameter]);
        }
        if needs != Needs::NoKey {
            problems.extend([Kind::Unauthorized, Kind::Forbidden]);
        }
        if self.method != Method::GET {
            problems.push(Kind::ForeignOrigin);
        }
        if !PROBES.contains(&self.path) {
            problems.push(Kind::Unavailable);
        }
        problems
    }
}

/// What a key needs beside its scope.
fn key_of(needs: Needs) -> &'static str {
    match needs {
        Needs::NoKey => "",
        Needs::Publish => "The key must be for the namespace, and for the topic of each event.",
        Needs::Read | Needs::Admin => "The key must be for the namespace, and for all of its topics.",
        Needs::ReadTopics => {
            "The key must be for the namespace. One that is limited to topics must name topics with `topic`, all of them its own."
        }
        Needs::ReadService => "The key must be for all namespaces and all topics.",
    }
}

pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// These headers, and the id of the request, which every answer has.
pub(super) fn headers_of(names: impl Iterator<Item = &'static str>) -> Value {
    let headers = ["X-Request-Id"].into_iter().chain(names);
    Value::Object(headers.map(|name| (name.to_owned(), reference("headers", name))).collect())
}
