//! The namespaces of a service. Their names must be checked before: other texts could lead to other paths.

use reqwest::{RequestBuilder, Response, StatusCode, Url, header};
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::json;

use super::{
    Client, ClientError, REQUEST_TIMEOUT,
    error::{no_answer, shown},
    read_json, with_status,
};

/// The namespace that every service has.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// A namespace, as the service shows it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Namespace {
    pub name: String,
    pub dedup_scope: String,
    pub created_at: String,
    pub received: u64,
    pub unique: u64,
    pub duplicates: u64,
    pub last_seq: u64,
}

impl Client {
    /// Creates a namespace, unless it is there with this scope already. True if it is new.
    pub async fn create_namespace(
        &self,
        name: &str,
        dedup_scope: Option<&str>,
    ) -> Result<(Namespace, bool), ClientError> {
        let settings = dedup_scope.map_or(json!({}), |scope| json!({"dedup_scope": scope}));
        let request =
            self.http.put(self.namespace_url(name)).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(settings.to_string());
        let answer = send(request, name, &[StatusCode::OK, StatusCode::CREATED]).await?;
        let is_new = answer.status() == StatusCode::CREATED;
        Ok((read_json(answer).await?, is_new))
    }

    /// The namespace of this name.
    pub async fn namespace(&self, name: &str) -> Result<Namespace, ClientError> {
        read_json(send(self.http.get(self.namespace_url(name)), name, &[StatusCode::OK]).await?).await
    }

    /// All namespaces whose names begin with `prefix`, by name.
    pub async fn namespaces(&self, prefix: &str) -> Result<Vec<Namespace>, ClientError> {
        let mut all: Vec<Namespace> = Vec::new();
        loop {
            let mut url = self.endpoint("namespaces");
            let after = all.last().map_or("", |last| &last.name);
            for (name, value) in [("prefix", prefix), ("after", after)] {
                if !value.is_empty() {
                    url.query_pairs_mut().append_pair(name, value);
                }
            }
            let page: Vec<Namespace> = read_json(self.get(url.clone(), REQUEST_TIMEOUT).await?).await?;
            let Some(last) = page.last() else { return Ok(all) };
            // Such a page would be asked for without end.
            if *last.name <= *after {
                let source =
                    serde_json::Error::custom(format!("a page ends with {}, not after {after}", last.name));
                return Err(ClientError::Unreadable { url: shown(&url), source });
            }
            all.extend(page);
        }
    }

    /// Deletes a namespace with all that is in it.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), ClientError> {
        let mut url = self.namespace_url(name);
        url.query_pairs_mut().append_pair("confirm", name);
        send(self.http.delete(url), name, &[StatusCode::NO_CONTENT]).await.map(drop)
    }

    fn namespace_url(&self, name: &str) -> Url {
        self.endpoint(&format!("namespaces/{name}"))
    }
}

/// Sends a request about the namespace `name`, which must be answered with one of these statuses.
pub(super) async fn send(
    request: RequestBuilder,
    name: &str,
    expected: &[StatusCode],
) -> Result<Response, ClientError> {
    let (http, request) = request.build_split();
    let request = request.map_err(ClientError::Setup)?;
    let url = request.url().clone();
    let answer = http.execute(request).await.map_err(|error| no_answer(&url, error))?;
    with_status(answer, expected, name).await
}
