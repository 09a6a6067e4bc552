//! The sockets that the server listens on.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::ServerError;

/// Connections that may wait to be accepted.
const LISTEN_BACKLOG: i32 = 2_048;

/// One listener for each address that the name stands for and the machine has; at least one.
pub(super) fn listeners(listen: &str) -> Result<Vec<TcpListener>, ServerError> {
    let failed = |source: io::Error| ServerError::Listen { address: listen.to_owned(), source };
    let addresses: Vec<SocketAddr> = listen.to_socket_addrs().map_err(failed)?.collect();
    let mut listeners = Vec::new();
    let mut refused = Vec::new();
    for address in addresses {
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => refused.push((address, error)),
        }
    }
    if listeners.is_empty() {
        let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        // The first one is what the system prefers.
        return Err(failed(refused.into_iter().next().map_or_else(no_address, |(_, error)| error)));
    }
    for (address, error) in refused {
        warn!(%address, %error, "cannot listen on one of the addresses of {listen}");
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::listeners;

    #[test]
    fn an_address_that_cannot_be_had_is_named_in_the_error() {
        let error = listeners("192.0.2.1:0").unwrap_err().to_string();
        assert_eq!(error, "cannot listen on 192.0.2.1:0");
    }
}
