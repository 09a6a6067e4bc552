//! The sockets that the server listens on.

use std::{
    collections::HashSet,
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::ServerError;

/// Connections that may wait to be accepted.
const LISTEN_BACKLOG: i32 = 2_048;

/// One listener for each address that the name stands for and the machine has; at least one. An address that another
/// program has is an error: half of the clients would reach that one.
pub(super) fn listeners(listen: &str) -> Result<Vec<TcpListener>, ServerError> {
    let failed = |source: io::Error| ServerError::Listen { address: listen.to_owned(), source };
    let addresses = listen.to_socket_addrs().map_err(failed)?.collect();
    listeners_at(listen, addresses)
}

fn listeners_at(listen: &str, mut addresses: Vec<SocketAddr>) -> Result<Vec<TcpListener>, ServerError> {
    // A file of hosts may name one twice.
    let mut known = HashSet::new();
    addresses.retain(|address| known.insert(*address));
    let failed = |source: io::Error| ServerError::Listen { address: listen.to_owned(), source };
    let mut listeners = Vec::new();
    let mut refused = Vec::new();
    for address in addresses {
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
                return Err(ServerError::Listen { address: address.to_string(), source });
            }
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
    use std::net::SocketAddr;

    use super::{listeners, listeners_at};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_cannot_be_had_is_named_in_the_error() {
        let error = listeners("192.0.2.1:0").unwrap_err().to_string();
        assert_eq!(error, "cannot listen on 192.0.2.1:0");
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_leaves_the_others() {
        let (here, elsewhere) = (address("127.0.0.1:0"), address("192.0.2.1:0"));
        for addresses in [vec![here, elsewhere], vec![elsewhere, here]] {
            let listeners = listeners_at("both:0", addresses).unwrap();
            let bound: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap().ip()).collect();
            assert_eq!(bound, [here.ip()]);
        }
    }

    #[test]
    fn an_address_that_another_program_has_is_an_error_and_a_repeated_one_is_not() {
        let other = listeners("127.0.0.1:0").unwrap();
        let taken = other[0].local_addr().unwrap();
        let free = SocketAddr::new(address("127.0.0.2:0").ip(), taken.port());
        for addresses in [vec![taken, free], vec![free, taken]] {
            let error = listeners_at("both", addresses).unwrap_err().to_string();
            assert_eq!(error, format!("cannot listen on {taken}"));
        }
        assert_eq!(listeners_at("twice", vec![free, free]).unwrap().len(), 1);
    }
}
