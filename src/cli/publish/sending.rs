//! Sends batches one after the other until each is acknowledged, and finds the lines that the service refuses.

use std::{pin::pin, time::Duration};

use super::{
    PublishFailure,
    batch::{EventLine, body},
};
use crate::{
    cli::progress::{Progress, TICK_EVERY},
    client::{Client, ClientError, PublishAnswer, Refusal, Retries},
};

/// Sends lines in their order, and counts.
pub struct Sender<'a> {
    pub client: &'a Client,
    pub give_up_after: Duration,
    pub progress: Progress,
    pub retries: Retries,
    /// Events in one request at most, as the flag says.
    pub batch_max: usize,
    /// Events in the next request at most: fewer after the service refused a larger request.
    pub events_max: usize,
    pub counts: Counts,
}

/// The counts of the lines so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub sent: u64,
    pub new: u64,
    pub duplicates: u64,
    pub bad_lines: u64,
}

impl Sender<'_> {
    /// Reports a line that cannot be published.
    pub fn refuse_line(&mut self, number: u64, fault: &str) {
        self.counts.bad_lines += 1;
        self.progress.say(&format!("line {number}: {fault}"));
    }

    /// Sends these lines in their order, without those that are refused.
    pub async fn send(&mut self, lines: Vec<EventLine>) -> Result<(), PublishFailure> {
        let mut waiting = vec![lines];
        let (mut was_too_large, mut largest_taken) = (false, 0);
        while let Some(mut lines) = waiting.pop() {
            if lines.is_empty() {
                continue;
            }
            match self.publish(&lines).await {
                Ok(answer) => {
                    largest_taken = largest_taken.max(lines.len());
                    self.note_answer(&answer, &lines)?;
                }
                Err(ClientError::Refused(refusal)) if refusal.is_about_the_events() => {
                    was_too_large |= refusal.is_about_the_size();
                    let rest = self.without_culprits(&mut lines, &refusal);
                    waiting.extend(rest);
                    waiting.push(lines);
                }
                Err(source) => return Err(PublishFailure::NotPublished { lines: numbers(&lines), source }),
            }
        }
        self.learn_size(was_too_large.then_some(largest_taken));
        Ok(())
    }

    /// Adapts the size of requests: smaller for a service with lower limits, and slowly larger again, since the
    /// refusal may have been about one large line.
    fn learn_size(&mut self, largest_taken: Option<usize>) {
        self.events_max = match largest_taken {
            Some(taken) => taken.clamp(1, self.events_max),
            None => (self.events_max + self.events_max / 8 + 1).min(self.batch_max),
        };
    }

    /// Sends one request, and shows the progress meanwhile.
    async fn publish(&mut self, lines: &[EventLine]) -> Result<PublishAnswer, ClientError> {
        let body = body(lines);
        let mut publishing =
            pin!(self.client.publish_until_answered(&body, self.give_up_after, &self.retries));
        loop {
            tokio::select! {
                biased;
                published = &mut publishing => return published.map(|published| published.answer),
                () = tokio::time::sleep(TICK_EVERY) => self.progress.tick(&self.retries),
            }
        }
    }

    fn note_answer(&mut self, answer: &PublishAnswer, lines: &[EventLine]) -> Result<(), PublishFailure> {
        let ids: Vec<_> = lines.iter().map(|line| &line.event_id).collect();
        answer.check(&ids).map_err(|source| PublishFailure::Answer { lines: numbers(lines), source })?;
        self.counts.sent += answer.accepted;
        self.counts.new += answer.unique;
        self.counts.duplicates += answer.duplicates;
        self.progress.advance(answer.accepted);
        Ok(())
    }

    /// Removes the lines that the refusal names. If it names none, keeps the first half and returns the second.
    fn without_culprits(&mut self, lines: &mut Vec<EventLine>, refusal: &Refusal) -> Option<Vec<EventLine>> {
        let named = |index: usize| {
            let faults = refusal.faults.iter().filter(|fault| fault.index == index);
            let faults: Vec<String> =
                faults.map(|fault| format!("`{}` {}", fault.pointer, fault.detail)).collect();
            (!faults.is_empty()).then(|| faults.join("; "))
        };
        let before = lines.len();
        let mut index = 0;
        lines.retain(|line| {
            let fault = named(index);
            index += 1;
            fault.inspect(|fault| self.refuse_line(line.number, fault)).is_none()
        });
        if lines.len() < before {
            return None;
        }
        if let [line] = &lines[..] {
            self.refuse_line(line.number, &refusal.to_string());
            lines.clear();
            return None;
        }
        Some(lines.split_off(lines.len() / 2))
    }
}

/// The numbers of the lines, in words.
fn numbers(lines: &[EventLine]) -> String {
    match lines {
        [] => "no line".to_owned(),
        [line] => format!("line {}", line.number),
        [first, .., last] => format!("lines {} to {}", first.number, last.number),
    }
}
