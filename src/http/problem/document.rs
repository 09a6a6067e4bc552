//! A problem as it is written: the document, and the answer around it where there is no request to answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::{MEDIA_TYPE, Problem, RETRY_AFTER_SECONDS};
use crate::{http::at_hand, request_ids::RequestIds};

/// The document, in the order in which its members are shown.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    retryable: bool,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault<'a>>,
    #[serde(flatten)]
    members: BTreeMap<&'static str, &'a Value>,
}

#[derive(Serialize)]
struct Fault<'a> {
    index: usize,
    pointer: &'a str,
    detail: &'a str,
}

impl Problem {
    pub(super) fn document(&self, ids: &RequestIds) -> Vec<u8> {
        let status = self.kind.status();
        let (name, title) = self.kind.names();
        let faults = self.errors.iter();
        let document = Document {
            r#type: format!("urn:sekali:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            retryable: self.is_retryable(),
            request_id: ids.id(),
            errors: faults
                .map(|fault| Fault { index: fault.index, pointer: &fault.pointer, detail: &fault.detail })
                .collect(),
            members: self.members.iter().map(|(name, value)| (*name, value)).collect(),
        };
        serde_json::to_vec(&document).expect("strings and numbers serialise")
    }

    /// The whole answer as it goes over the wire, for where no request can be answered. It ends the connection.
    pub(in crate::http) fn to_wire(&self) -> Bytes {
        let ids = at_hand::ids();
        let document = self.document(&ids);
        let retry = if self.is_retryable() {
            format!("retry-after: {RETRY_AFTER_SECONDS}\r\n")
        } else {
            String::new()
        };
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\nx-request-id: {}\r\nconnection: close\r\n{retry}\r\n",
            self.kind.status(),
            document.len(),
            ids.id()
        );
        [head.as_bytes(), &document].concat().into()
    }
}
