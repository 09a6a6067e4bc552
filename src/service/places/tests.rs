use std::{net::IpAddr, time::Duration};

use futures::{FutureExt, future::BoxFuture};

use super::*;

const FULL: Overloaded = Overloaded("full");
const PEER_FULL: Overloaded = Overloaded("peer full");

type Asked = BoxFuture<'static, Result<Place, Overloaded>>;

fn peer(last: u8) -> Option<Peer> {
    Some(IpAddr::from([10, 0, 0, last]).into())
}

fn places(places: usize, waiting: usize) -> Arc<Places> {
    let exempt = ["10.0.0.9/32".parse().unwrap()].into();
    Places::new(PlacesLimits { places, waiting, exempt, full: FULL, peer_full: PEER_FULL })
}

/// Asks, and is in the queue where there is no place.
fn ask(places: &Arc<Places>, peer: Option<Peer>) -> Result<Result<Place, Overloaded>, Asked> {
    let places = Arc::clone(places);
    let mut asked: Asked =
        async move { places.take(peer, Instant::now() + Duration::from_secs(3_600)).await }.boxed();
    match (&mut asked).now_or_never() {
        Some(answer) => Ok(answer),
        None => Err(asked),
    }
}

fn taken(places: &Arc<Places>, peer: Option<Peer>) -> Place {
    ask(places, peer).unwrap_or_else(|_| panic!("it waits")).unwrap()
}

fn queued(places: &Arc<Places>, peer: Option<Peer>) -> Asked {
    match ask(places, peer) {
        Ok(_) => panic!("it does not wait"),
        Err(asked) => asked,
    }
}

fn place_of(asked: &mut Asked) -> Option<Place> {
    asked.now_or_never().map(|place| place.unwrap())
}

fn is_empty(places: &Arc<Places>) -> bool {
    let state = places.state.lock();
    state.taken == 0 && state.waiting == 0 && state.by_taker.is_empty()
}

#[tokio::test]
async fn one_peer_leaves_a_place_to_others_and_exempt_ones_do_not() {
    let places = places(3, 10);
    let (first, second) = (taken(&places, peer(1)), taken(&places, peer(1)));
    let mut third = queued(&places, peer(1));
    let other = taken(&places, peer(2));
    drop(other);
    assert!(place_of(&mut third).is_none(), "the last place is not for this peer");
    drop(first);
    let third = place_of(&mut third).unwrap();
    drop((second, third));
    let of_proxy: Vec<_> = (0..3).map(|_| taken(&places, peer(9))).collect();
    drop(queued(&places, None));
    drop(of_proxy);
    assert!(is_empty(&places));
}

#[tokio::test]
async fn who_has_the_fewest_places_comes_first_and_then_who_came_first() {
    let places = places(4, 10);
    let mut held: Vec<_> = [1, 1, 2, 2].map(|last| taken(&places, peer(last))).into();
    let mut flood = queued(&places, peer(1));
    let (mut third, mut fourth) = (queued(&places, peer(3)), queued(&places, peer(4)));
    drop(held.remove(0));
    let of_third = place_of(&mut third).expect("it has none, and came before the other that has none");
    assert!(place_of(&mut flood).is_none() && place_of(&mut fourth).is_none());
    drop(of_third);
    assert!(place_of(&mut flood).is_none());
    assert!(place_of(&mut fourth).is_some());
    assert!(place_of(&mut flood).is_some(), "its place was given back");
    drop(held);
    assert!(is_empty(&places));
}

#[tokio::test]
async fn the_queue_has_a_limit_and_one_peer_has_half_of_it() {
    let places = places(2, 4);
    let held = (taken(&places, peer(1)), taken(&places, peer(2)));
    let of_peer = [queued(&places, peer(1)), queued(&places, peer(1))];
    assert_eq!(ask(&places, peer(1)).ok().unwrap().unwrap_err(), PEER_FULL);
    let others = [queued(&places, peer(9)), queued(&places, None)];
    assert_eq!(places.waiting(), (4, 4));
    assert_eq!(ask(&places, peer(3)).ok().unwrap().unwrap_err(), FULL);
    drop(of_peer);
    assert_eq!(places.waiting(), (2, 4), "who is gone does not wait");
    drop(queued(&places, peer(3)));
    drop((held, others));
    assert!(is_empty(&places));
}

#[tokio::test]
async fn a_place_that_nobody_wants_any_more_goes_to_the_next() {
    let places = places(2, 4);
    let held = (taken(&places, peer(1)), taken(&places, peer(2)));
    let (gone, mut next) = (queued(&places, peer(3)), queued(&places, peer(4)));
    drop(held.0);
    // It was given its place, and leaves without it.
    drop(gone);
    assert!(place_of(&mut next).is_some());
    drop(held.1);
    assert!(is_empty(&places));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_the_deadline() {
    let places = places(2, 4);
    let held = (taken(&places, peer(1)), taken(&places, peer(2)));
    let begun = Instant::now();
    let refused = places.take(peer(3), begun + Duration::from_secs(10)).await;
    assert_eq!((refused.unwrap_err(), begun.elapsed().as_secs()), (FULL, 10));
    drop(held);
    assert!(is_empty(&places));
}
