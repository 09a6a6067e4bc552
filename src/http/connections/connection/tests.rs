use std::net::IpAddr;

use tokio::time::advance;

use super::*;

const PATIENCE: Patience =
    Patience { idle_timeout: Duration::from_secs(60), draining: false, streams_keep_pace: false };
const SCARCE: Patience = Patience { streams_keep_pace: true, ..PATIENCE };

fn answering(clock: Clock) -> Connection {
    let connection = Connection::new(1, IpAddr::from([127, 0, 0, 1]).into(), false, clock);
    connection.request_begins(Some(0));
    connection.answer_begins(false);
    connection
}

/// The seconds after which a client is cut that takes so many bytes of an answer each second.
async fn cut_after(bytes_per_second: u64) -> Option<u64> {
    let clock = Clock::start();
    cut_of(&answering(clock), clock, bytes_per_second, PATIENCE).await
}

/// The same of a stream.
async fn stream_cut_after(bytes_per_second: u64, patience: Patience) -> Option<u64> {
    let clock = Clock::start();
    let connection = answering(clock);
    connection.stream_begins();
    // Rests first, for longer than any credit.
    advance(Duration::from_secs(100)).await;
    connection.stream_sends();
    cut_of(&connection, clock, bytes_per_second, patience).await
}

async fn cut_of(
    connection: &Connection,
    clock: Clock,
    bytes_per_second: u64,
    patience: Patience,
) -> Option<u64> {
    for second in 1..=600 {
        advance(Duration::from_secs(1)).await;
        connection.write_blocked();
        if bytes_per_second > 0 {
            connection.bytes_written(bytes_per_second as usize);
            connection.write_blocked();
        }
        let cut = connection.cut_overdue(clock.now_ms(), patience);
        if let Some(cut) = cut {
            assert_eq!((cut, connection.cut()), (Cut::UnreadAnswer, Some(Cut::UnreadAnswer)));
            return Some(second);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_too_slowly_is_cut_however_steadily_it_does() {
    assert_eq!(cut_after(ANSWER_BYTES_PER_SECOND).await, None);
    // A quarter of the pace: it falls behind by three quarters of a second each second.
    assert_eq!(cut_after(ANSWER_BYTES_PER_SECOND / 4).await, Some(14));
    assert_eq!(cut_after(0).await, Some(11));
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_a_pace_only_while_others_wait_for_what_it_holds() {
    assert_eq!(stream_cut_after(1, PATIENCE).await, None);
    assert_eq!(stream_cut_after(0, PATIENCE).await, Some(32));
    assert_eq!(stream_cut_after(ANSWER_BYTES_PER_SECOND, SCARCE).await, None);
    assert_eq!(stream_cut_after(ANSWER_BYTES_PER_SECOND / 4, SCARCE).await, Some(14));
    // Once it rests, it holds nothing that others could wait for.
    let clock = Clock::start();
    let connection = answering(clock);
    connection.stream_begins();
    connection.stream_sends();
    connection.stream_rests();
    assert_eq!(cut_of(&connection, clock, 1, SCARCE).await, None);
}
