//! Sends batches one after the other until each is acknowledged; what the service refuses is found line by line.

use std::time::Duration;

use serde::Deserialize;

use super::{
    PublishFailure,
    batch::{EventLine, body},
};
use crate::{
    cli::progress::{Progress, TICK_EVERY},
    client::{AnswerDetail, Client, NotPublished, Published, Refusal, Retries},
};

/// Sends in order, and counts.
pub struct Sender<'a> {
    pub client: &'a Client,
    pub give_up_after: Duration,
    pub progress: Progress,
    pub retries: Retries,
    /// Events in one request, as was asked for.
    pub batch_max: usize,
    /// Events in one request, as far as the service has shown what it takes.
    pub events_max: usize,
    pub counts: Counts,
}

/// What became of the lines so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub sent: u64,
    pub new: u64,
    pub duplicates: u64,
    pub bad_lines: u64,
}

#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    unique: u64,
    duplicates: u64,
}

impl Sender<'_> {
    /// Names a line that cannot be published.
    pub fn refuse_line(&mut self, number: u64, fault: &str) {
        self.counts.bad_lines += 1;
        self.progress.say(&format!("line {number}: {fault}"));
    }

    /// Sends these lines, all but those that are refused, in their order.
    pub async fn send(&mut self, lines: Vec<EventLine>) -> Result<(), PublishFailure> {
        let mut waiting = vec![lines];
        let (mut was_too_large, mut largest_taken) = (false, 0);
        while let Some(mut lines) = waiting.pop() {
            if lines.is_empty() {
                continue;
            }
            match self.publish(&lines).await {
                Ok(published) => {
                    largest_taken = largest_taken.max(lines.len());
                    self.note_answer(&published, &lines)?;
                }
                Err(NotPublished::Refused(refusal)) if refusal.is_about_the_events() => {
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

    /// A service with lower limits than usual takes smaller requests; but one large line is no such service, so
    /// the requests grow again.
    fn learn_size(&mut self, largest_taken: Option<usize>) {
        self.events_max = match largest_taken {
            Some(taken) => taken.clamp(1, self.events_max),
            None => (self.events_max + self.events_max / 8 + 1).min(self.batch_max),
        };
    }

    /// One request, with the progress going on beside it.
    async fn publish(&mut self, lines: &[EventLine]) -> Result<Published, NotPublished> {
        let body = body(lines);
        let publishing = self.client.publish_until_answered(
            &body,
            AnswerDetail::Counts,
            self.give_up_after,
            &self.retries,
        );
        let mut publishing = std::pin::pin!(publishing);
        loop {
            tokio::select! {
                biased;
                published = &mut publishing => return published,
                () = tokio::time::sleep(TICK_EVERY) => self.progress.tick(&self.retries),
            }
        }
    }

    fn note_answer(&mut self, published: &Published, lines: &[EventLine]) -> Result<(), PublishFailure> {
        let answer: Option<Answer> = serde_json::from_slice(&published.answer).ok();
        let sent = lines.len() as u64;
        let is_right = |answer: &Answer| {
            answer.accepted == sent && answer.unique.checked_add(answer.duplicates) == Some(sent)
        };
        let answer = answer.filter(is_right).ok_or_else(|| PublishFailure::Answer {
            lines: numbers(lines),
            begin: String::from_utf8_lossy(&published.answer[..published.answer.len().min(80)]).into_owned(),
        })?;
        self.counts.sent += sent;
        self.counts.new += answer.unique;
        self.counts.duplicates += answer.duplicates;
        self.progress.advance(sent);
        Ok(())
    }

    /// Takes out of `lines` what is known to be refused; where that is not known, leaves their first half, and
    /// answers the second.
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

/// Which lines, in words.
fn numbers(lines: &[EventLine]) -> String {
    match lines {
        [] => "no line".to_owned(),
        [line] => format!("line {}", line.number),
        [first, .., last] => format!("lines {} to {}", first.number, last.number),
    }
}
