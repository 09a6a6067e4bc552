//! The peer that a request came from.

use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::Poll,
};

use actix_web::HttpRequest;

use super::connections::Connection;
use crate::ledger::Peer;

/// The peer at the other end of the request's connection. Those without an address are one peer.
pub(super) fn peer(request: &HttpRequest) -> Peer {
    request.peer_addr().map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |address| address.ip()).into()
}

/// Waits until the client of `request` has hung up.
///
/// The HTTP library polls a handler whenever it has read from the connection, so that no waker is needed.
pub(super) async fn hung_up(request: &HttpRequest) {
    let connection = request.conn_data::<Arc<Connection>>();
    let has_ended = || connection.is_some_and(|connection| connection.has_ended());
    poll_fn(|_| if has_ended() { Poll::Ready(()) } else { Poll::Pending }).await;
}
