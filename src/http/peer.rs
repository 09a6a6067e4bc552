//! The peer that a request came from.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

use crate::ledger::Peer;

/// The peer at the other end of the request's connection. Those without an address are one peer.
pub(super) fn peer(request: &HttpRequest) -> Peer {
    request.peer_addr().map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |address| address.ip()).into()
}
