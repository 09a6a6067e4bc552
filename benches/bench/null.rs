//! A server that answers every publish at once with nothing done: the upper bound of the load generator.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Serves on a free port, which it prints, until it is killed.
#[tokio::main(flavor = "current_thread")]
pub async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(512 * 1024);
    loop {
        request.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| request.len() < whole) {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
            if whole.is_none() {
                whole = super::load::whole_message(&request);
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?;
    }
}
