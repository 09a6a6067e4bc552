//! Which namespace a request is for: the one that its path names, or `default`.

use actix_web::HttpRequest;

use super::{peer::peer, problem::Problem};
use crate::{
    service::{Ledger, Service},
    store::{DEFAULT_NAMESPACE, check_namespace},
};

/// The ledger that the request is for.
pub(super) async fn ledger(request: &HttpRequest, service: &Service) -> Result<Ledger, Problem> {
    Ok(service.ledger(name(request)?).await?.read_for(peer(request)))
}

/// The name of the namespace that the request is for.
pub(super) fn name(request: &HttpRequest) -> Result<&str, Problem> {
    let name = name_in_path(request);
    check_namespace(name)
        .map_err(|fault| Problem::invalid_parameter(format!("the namespace's name {fault}, not {name:?}")))?;
    Ok(name)
}

/// The same, whether or not there can be a namespace of such a name.
pub(super) fn name_in_path(request: &HttpRequest) -> &str {
    request.match_info().get("namespace").unwrap_or(DEFAULT_NAMESPACE)
}

/// The path below the namespace.
pub(super) fn path_within(request: &HttpRequest) -> &str {
    let path = request.path();
    let within = path.strip_prefix("/namespaces/").and_then(|rest| rest.find('/').map(|end| &rest[end..]));
    within.unwrap_or(path)
}
