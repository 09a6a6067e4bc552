//! What a soak came to.

use std::{collections::BTreeMap, time::Instant};

use serde_json::json;

use crate::{
    consumers::Consumed,
    harness::record::{Findings, Tally},
    world::World,
};

pub struct Summary {
    seed: u64,
    begun: Instant,
    pub rounds: usize,
    pub faults: BTreeMap<&'static str, u64>,
    pub findings: Findings,
    tally: Tally,
    generations: usize,
    consumed: Consumed,
}

impl Summary {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            begun: Instant::now(),
            rounds: 0,
            faults: BTreeMap::new(),
            findings: Findings::default(),
            tally: Tally::default(),
            generations: 0,
            consumed: Consumed::default(),
        }
    }

    /// Takes over what producers have seen so far.
    pub fn update(&mut self, world: &World) {
        self.tally = world.tally();
        self.generations = world.generations();
        self.consumed = world.consumed();
    }

    pub fn print_line(&self) {
        println!(
            "{:>4} min: {} rounds, {} requests, {} events acknowledged, {} faults, {} findings",
            self.begun.elapsed().as_secs() / 60,
            self.rounds,
            self.tally.requests,
            self.tally.events_acknowledged,
            self.faults.values().sum::<u64>(),
            self.findings.count()
        );
    }

    /// The table, and the same as one line of JSON.
    pub fn print(&self) {
        println!();
        let Tally { requests, retries, events_acknowledged, events_stored, longest_outage } = self.tally;
        let longest_outage_seconds = longest_outage.as_secs_f64();
        println!("requests acknowledged   {requests}, after {retries} retries");
        println!("events acknowledged     {events_acknowledged}");
        println!("events stored           {events_stored}");
        let Consumed { events_followed, streams_lost, events_acked, acks_fenced } = self.consumed;
        println!("events followed         {events_followed}, over streams of which {streams_lost} were lost");
        println!("events acked            {events_acked}; {acks_fenced} acks were fenced");
        println!("namespaces created      {}, and all but the last deleted", self.generations);
        println!("rounds, each proved     {}", self.rounds);
        println!("faults                  {}", self.faults.values().sum::<u64>());
        self.faults.iter().for_each(|(fault, times)| println!("  {fault:<26}{times}"));
        println!("longest outage          {longest_outage_seconds:.1} s");
        let Findings { losses, double_stores, wrong_answers } = &self.findings;
        for (name, found) in
            [("losses", losses), ("double stores", double_stores), ("wrong answers", wrong_answers)]
        {
            println!("{name:<24}{}", found.len());
            found.iter().take(20).for_each(|what| println!("  {what}"));
        }
        println!(
            "{}",
            json!({
                "seed": self.seed,
                "minutes": self.begun.elapsed().as_secs_f64() / 60.0,
                "rounds": self.rounds,
                "requests": requests,
                "retries": retries,
                "events_acknowledged": events_acknowledged,
                "events_stored": events_stored,
                "namespaces_created": self.generations,
                "events_followed": events_followed,
                "streams_lost": streams_lost,
                "events_acked": events_acked,
                "acks_fenced": acks_fenced,
                "faults": self.faults,
                "losses": losses.len(),
                "double_stores": double_stores.len(),
                "wrong_answers": wrong_answers.len(),
                "longest_outage_seconds": longest_outage_seconds,
            })
        );
    }
}
