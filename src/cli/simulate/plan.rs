//! What a run sends, decided before it begins: the order of the events, repeats among them.

use std::rc::Rc;

use fastrand::Rng;

use super::{args::SimulateArgs, ids::Ids};
use crate::{client::TopicCounts, config::WrongValue};

/// The source of the events where all are in one namespace.
const SOURCE: &str = "simulate";

/// What one namespace is sent, in four bytes per event. Everything else is computed from the event's number. All
/// namespaces of a run have events of the same ids, of other topics and with other payloads: what is taken for that of
/// another namespace shows.
#[derive(Clone)]
pub struct Plan {
    /// The numbers of the events, repeats included, in the order of sending.
    order: Rc<[u32]>,
    /// How many of them are sent.
    events: usize,
    /// Number of different events. They are numbered from 0 in the order of their first copies.
    pub unique: u32,
    /// Events in one request.
    batch: usize,
    pub ids: Ids,
    /// Decides topics and payloads.
    salt: u64,
    pub topics: Rc<[String]>,
    /// The source of all events.
    pub source: Rc<str>,
    /// Bytes of each payload.
    pub payload_bytes: usize,
    /// The timestamp of all events.
    pub timestamp: Rc<str>,
}

impl Plan {
    /// The plans of a run, one for each namespace; an error if the flags leave one without an event.
    pub fn all(args: &SimulateArgs, run: &str, seed: u64, timestamp: &str) -> Result<Vec<Self>, WrongValue> {
        args.check()?;
        let namespaces = args.namespace_names(seed);
        let topics: Rc<[String]> = (1..=args.topics).map(|number| format!("sim-{run}-{number}")).collect();
        // Everything that decides the content of an event decides its id: events with the same id are the same.
        let ids = Ids::new(args.ids, &(run, seed, args.topics, args.payload_bytes, args.namespaces));
        let concurrency = args.concurrency.div_ceil(args.namespaces) as usize;
        let plan = |(place, namespace): (u32, &String)| {
            // The first ones have one event more where they do not divide.
            let events = (args.events - place).div_ceil(args.namespaces);
            let unique = unique_events(events, args.duplicates)?;
            let seed = seed.wrapping_add(place.into());
            Ok(Self {
                order: order(events as usize, unique, args.batch as usize, concurrency, seed).into(),
                events: events as usize,
                unique,
                batch: args.batch as usize,
                ids,
                salt: 1 + u64::from(place),
                topics: Rc::clone(&topics),
                source: if args.namespaces == 1 { SOURCE.into() } else { namespace.as_str().into() },
                payload_bytes: args.payload_bytes as usize,
                timestamp: timestamp.into(),
            })
        };
        (0..).zip(&namespaces).map(plan).collect()
    }

    /// The plan of a run that ends after this number of requests.
    pub fn first_requests(&self, requests: usize) -> Self {
        let events = self.events.min(requests.saturating_mul(self.batch));
        let unique = self.order[..events].iter().max().map_or(0, |number| number + 1);
        Self { events, unique, ..self.clone() }
    }

    /// Number of events to send, repeats included.
    pub fn events(&self) -> u64 {
        self.events as u64
    }

    /// Number of requests to send.
    pub fn requests(&self) -> usize {
        self.events.div_ceil(self.batch)
    }

    /// The numbers of the events in the request at `place`.
    pub fn request(&self, place: usize) -> &[u32] {
        let from = place * self.batch;
        &self.order[from..self.events.min(from + self.batch)]
    }

    /// The place of the event's topic in `topics`.
    pub fn topic_of(&self, number: u32) -> usize {
        self.noise(number) as usize % self.topics.len()
    }

    /// A number that looks random, and is another one for each event of each namespace.
    pub fn noise(&self, number: u32) -> u64 {
        self.ids.noise(self.salt, number)
    }

    /// The number of the planned event with this id.
    pub fn number(&self, id: &str) -> Option<u32> {
        self.ids.number(id).filter(|number| *number < self.unique)
    }

    /// The planned events of each topic: different ones, and repeats.
    pub fn by_topic(&self) -> Vec<TopicCounts> {
        let mut counts = vec![TopicCounts::default(); self.topics.len()];
        let mut begun = 0;
        for number in &self.order[..self.events] {
            let topic = &mut counts[self.topic_of(*number)];
            match *number == begun {
                true => (topic.unique, begun) = (topic.unique + 1, begun + 1),
                false => topic.duplicates += 1,
            }
        }
        counts
    }
}

fn unique_events(events: u32, duplicates: f64) -> Result<u32, WrongValue> {
    let repeats = (f64::from(events) * duplicates).round() as u32;
    let unique = events.saturating_sub(repeats);
    if unique == 0 {
        let allowed = format!("a share that leaves at least one of the {events} events to be repeated");
        return Err(WrongValue::new("duplicates", allowed, duplicates.to_string()));
    }
    Ok(unique)
}

/// Spreads new events and repeats evenly. Of the repeats, one third each follow an earlier copy in the same
/// request, in the requests that are under way at the same time, and anywhere before.
fn order(events: usize, unique: u32, batch: usize, concurrency: usize, seed: u64) -> Vec<u32> {
    let mut random = Rng::with_seed(seed);
    let mut order: Vec<u32> = Vec::with_capacity(events);
    let mut begun = 0;
    for place in 0..events {
        let new_left = (unique - begun) as usize;
        if place == 0 || random.usize(..events - place) < new_left {
            order.push(begun);
            begun += 1;
            continue;
        }
        let nearest = match random.u8(..3) {
            0 => place - place % batch,
            1 => place.saturating_sub(batch * concurrency),
            _ => 0,
        };
        // Nothing is before the first event of a request in the same request.
        let nearest = if nearest == place { 0 } else { nearest };
        order.push(order[random.usize(nearest..place)]);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::simulate::{
        body::payload,
        tests::{plan, plans},
    };

    #[test]
    fn namespaces_share_ids_and_nothing_else() {
        let plans = plans(&["--events=1000", "--batch=7", "--namespaces=3", "--topics=1000"]);
        let [first, second, third] = &plans[..] else { panic!("{} plans", plans.len()) };
        assert_eq!([first, second, third].map(Plan::events), [334, 333, 333]);
        let of_number = |plan: &Plan| (0..plan.unique).map(|number| plan.ids.id(number)).collect::<Vec<_>>();
        assert_eq!(of_number(second), of_number(third));
        let differs = |of: fn(&Plan, u32) -> String| {
            (0..200).filter(|number| of(first, *number) != of(second, *number)).count() > 150
        };
        assert!(differs(|plan, number| plan.topic_of(number).to_string()));
        assert!(differs(payload));
        assert_ne!(first.source, second.source);
        assert_ne!(first.order[..300], second.order[..300]);
    }

    #[test]
    fn the_first_namespaces_have_one_request_more_where_they_do_not_divide() {
        for (events, batch, namespaces) in [(1_000, 7, 3), (10, 3, 3), (3, 50, 3), (17, 1, 5), (100, 10, 7)] {
            let [events, batch, namespaces] = [
                format!("--events={events}"),
                format!("--batch={batch}"),
                format!("--namespaces={namespaces}"),
            ];
            let requests: Vec<usize> =
                plans(&[&events, &batch, &namespaces, "--duplicates=0"]).iter().map(Plan::requests).collect();
            assert!(requests.is_sorted_by(|a, b| a >= b), "{requests:?}");
            assert!(requests[0] - requests[requests.len() - 1] <= 1, "{requests:?}");
        }
    }

    #[test]
    fn a_plan_that_ends_earlier_begins_alike_and_counts_what_is_left() {
        let plan = plan(&["--events=1000", "--batch=30"]);
        for requests in [0, 1, 7, 34, 50] {
            let shorter = plan.first_requests(requests);
            assert_eq!(shorter.requests(), requests.min(34));
            assert!((0..shorter.requests()).all(|place| shorter.request(place) == plan.request(place)));
            let different: std::collections::HashSet<_> = shorter.order[..shorter.events].iter().collect();
            assert_eq!(different.len(), shorter.unique as usize);
            let (unique, all) = shorter
                .by_topic()
                .into_iter()
                .fold((0, 0), |sum, topic| (sum.0 + topic.unique, sum.1 + topic.received()));
            assert_eq!((unique, all), (u64::from(shorter.unique), shorter.events()));
        }
    }

    #[test]
    fn as_many_are_repeats_as_planned_and_each_follows_its_first_copy() {
        for (events, share, unique) in [(20_000, 0.3, 14_000), (10, 0.9, 1), (1, 0.0, 1), (7, 0.5, 3)] {
            assert_eq!(unique_events(events, share).unwrap(), unique);
            let order = order(events as usize, unique, 50, 10, 7);
            let mut begun = 0;
            for number in &order {
                assert!(*number <= begun, "a repeat comes after its first copy");
                begun += u32::from(*number == begun);
            }
            assert_eq!((order.len() as u32, begun), (events, unique));
        }
    }

    #[test]
    fn repeats_are_near_and_far() {
        let (batch, concurrency) = (50, 10);
        let order = order(20_000, 14_000, batch, concurrency, 7);
        let mut last_seen = vec![None; 14_000];
        let (mut in_one, mut in_flight, mut later) = (0, 0, 0);
        for (place, number) in order.iter().enumerate() {
            let last: Option<usize> = last_seen[*number as usize].replace(place);
            match last {
                None => {}
                Some(last) if last / batch == place / batch => in_one += 1,
                Some(last) if place - last < batch * concurrency => in_flight += 1,
                Some(_) => later += 1,
            }
        }
        assert_eq!(in_one + in_flight + later, 6_000);
        assert!(in_one > 1_000 && in_flight > 1_000 && later > 1_000, "{in_one} {in_flight} {later}");
    }

    #[test]
    fn the_seed_fixes_the_order() {
        assert_eq!(order(1_000, 700, 50, 10, 7), order(1_000, 700, 50, 10, 7));
        assert_ne!(order(1_000, 700, 50, 10, 7), order(1_000, 700, 50, 10, 8));
    }

    #[test]
    fn a_run_of_nothing_but_repeats_cannot_be() {
        for (events, share) in [(20_000, 1.0), (10, 0.99), (1, 0.5)] {
            let wrong = unique_events(events, share).unwrap_err().to_string();
            assert!(wrong.starts_with("--duplicates must be a share that leaves at least one"), "{wrong}");
        }
    }
}
