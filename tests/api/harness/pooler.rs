//! What a connection pooler does to the start-up message of a session, and ways to a server by other addresses.
//!
//! The message: <https://www.postgresql.org/docs/current/protocol-message-formats.html> (StartupMessage).

use std::path::Path;

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener},
};

/// What becomes of the settings that a client asks for, as PgBouncer is configured.
#[derive(Clone, Copy, Debug)]
pub enum StartUp {
    /// They are passed on: there is no pooler.
    Kept,
    /// They are left out, as by `ignore_startup_parameters = options, extra_float_digits`.
    Dropped,
    /// The client is refused, as by default.
    Refused,
}

/// Passes connections of `listener` on to the server at `port`, until the runtime ends.
pub fn forward(listener: TcpListener, port: u16, start_up: StartUp) {
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, port, start_up));
        }
    });
}

/// The same for the socket that clients look for in `folder` with the port 5432.
pub fn forward_socket(folder: &Path, port: u16) {
    let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, port, StartUp::Kept));
        }
    });
}

/// The same over sockets that hold little: a server feels soon that a client does not read its answer.
pub fn forward_narrowly(listener: TcpListener, port: u16) {
    const BYTES: u32 = 4_096;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            SockRef::from(&client).set_send_buffer_size(BYTES as usize).unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(BYTES).unwrap();
            // The system makes the server's own buffer so many segments long, up to a thousand or so.
            SockRef::from(&socket).set_tcp_mss(300).unwrap();
            tokio::spawn(async move {
                let Ok(mut server) = socket.connect(([127, 0, 0, 1], port).into()).await else { return };
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

async fn pass(mut client: impl AsyncRead + AsyncWrite + Unpin, port: u16, start_up: StartUp) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let passed = async {
        match start_up {
            StartUp::Kept => {}
            StartUp::Dropped => {
                let message = without_settings(&read_start_up(&mut client).await?);
                server.write_all(&message).await?;
            }
            StartUp::Refused => {
                read_start_up(&mut client).await?;
                let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
                client.write_all(b"E").await?;
                client.write_all(&(fields.len() as u32 + 4).to_be_bytes()).await?;
                return client.write_all(fields).await;
            }
        }
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    };
    let _ = passed.await;
}

/// Reads the message behind its length: the protocol's number, then names and values, each ended by a zero.
async fn read_start_up(client: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = client.read_u32().await? as usize;
    let mut message = vec![0; length - 4];
    client.read_exact(&mut message).await?;
    Ok(message)
}

fn without_settings(message: &[u8]) -> Vec<u8> {
    let texts: Vec<&[u8]> = message[4..].split(|byte| *byte == 0).collect();
    let mut kept = message[..4].to_vec();
    for pair in texts.chunks_exact(2).filter(|pair| !pair[0].is_empty()) {
        if !matches!(pair[0], b"options" | b"extra_float_digits") {
            kept.extend([pair[0], b"\0", pair[1], b"\0"].concat());
        }
    }
    kept.push(0);
    [&(kept.len() as u32 + 4).to_be_bytes()[..], &kept].concat()
}
