//! What a soak came to.

use std::{collections::BTreeMap, time::Instant};

use serde_json::json;

use crate::{harness::record::Findings, world::World};

pub struct Summary {
    seed: u64,
    begun: Instant,
    pub rounds: usize,
    pub faults: BTreeMap<&'static str, u64>,
    pub findings: Findings,
    requests: u64,
    retries: u64,
    events_acknowledged: u64,
    events_stored: u64,
    longest_outage_seconds: f64,
}

impl Summary {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            begun: Instant::now(),
            rounds: 0,
            faults: BTreeMap::new(),
            findings: Findings::default(),
            requests: 0,
            retries: 0,
            events_acknowledged: 0,
            events_stored: 0,
            longest_outage_seconds: 0.0,
        }
    }

    /// Takes over what producers have seen so far.
    pub fn update(&mut self, world: &World) {
        let records = [world.cluster.producers.record(), world.single.producers.record()];
        let sum = |of: fn(&crate::harness::record::Record) -> u64| records.iter().map(|r| of(r)).sum();
        self.requests = sum(|record| record.requests);
        self.retries = sum(|record| record.retries);
        self.events_acknowledged = sum(|record| record.events_acknowledged);
        self.events_stored = sum(|record| record.told.len() as u64);
        let outages = records.iter().map(|record| record.longest_outage.as_secs_f64());
        self.longest_outage_seconds = outages.fold(0.0, f64::max);
    }

    pub fn print_line(&self) {
        println!(
            "{:>4} min: {} rounds, {} requests, {} events acknowledged, {} faults, {} findings",
            self.begun.elapsed().as_secs() / 60,
            self.rounds,
            self.requests,
            self.events_acknowledged,
            self.faults.values().sum::<u64>(),
            self.findings.count()
        );
    }

    /// The table, and the same as one line of JSON.
    pub fn print(&self) {
        println!();
        println!("requests acknowledged   {}, after {} retries", self.requests, self.retries);
        println!("events acknowledged     {}", self.events_acknowledged);
        println!("events stored           {}", self.events_stored);
        println!("rounds, each proved     {}", self.rounds);
        println!("faults                  {}", self.faults.values().sum::<u64>());
        self.faults.iter().for_each(|(fault, times)| println!("  {fault:<26}{times}"));
        println!("longest outage          {:.1} s", self.longest_outage_seconds);
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
                "requests": self.requests,
                "retries": self.retries,
                "events_acknowledged": self.events_acknowledged,
                "events_stored": self.events_stored,
                "faults": self.faults,
                "losses": losses.len(),
                "double_stores": double_stores.len(),
                "wrong_answers": wrong_answers.len(),
                "longest_outage_seconds": self.longest_outage_seconds,
            })
        );
    }
}
