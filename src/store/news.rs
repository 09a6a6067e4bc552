//! What the nodes of one database tell each other about its ledgers.

use async_trait::async_trait;
use uuid::Uuid;

use super::{LedgerKey, StoreError};

/// Longest message, in bytes: PostgreSQL takes less than 8,000.
const MESSAGE_BYTES_MAX: usize = 7_900;

/// One message of a node to all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeNews {
    /// Readers wait on the node: the others are to tell what they commit.
    Readers,
    /// These ledgers have grown up to these `seq`.
    Grown(Vec<(LedgerKey, u64)>),
    /// Any ledger may have grown: a message was lost, or there was more to say than it holds.
    Anything,
}

/// Carries news between the nodes of one database. It may lose some: what matters is looked up as well, only later.
#[async_trait]
pub trait NewsStore: Send + Sync {
    /// Tells the other nodes.
    async fn tell(&self, news: &NodeNews) -> Result<(), StoreError>;

    /// Begins to hear the other nodes.
    async fn listen(&self) -> Result<Box<dyn NewsListener>, StoreError>;
}

/// What other nodes tell, from the moment on when it was made.
#[async_trait]
pub trait NewsListener: Send {
    /// The next message.
    async fn next(&mut self) -> Result<NodeNews, StoreError>;
}

impl NodeNews {
    /// The message of the node with this number.
    pub(super) fn to_text(&self, node: u64) -> String {
        let mut text = match self {
            Self::Readers => format!("{node:x} readers"),
            Self::Anything => format!("{node:x} anything"),
            Self::Grown(_) => format!("{node:x} grown"),
        };
        if let Self::Grown(ledgers) = self {
            for (key, last_seq) in ledgers {
                text.push_str(&format!(" {}:{}:{last_seq}", key.namespace_no, key.ledger_id.simple()));
            }
            if text.len() > MESSAGE_BYTES_MAX {
                return Self::Anything.to_text(node);
            }
        }
        text
    }

    /// Reads a message of another node than `node`. What a newer version says is taken for anything.
    pub(super) fn from_text(text: &str, node: u64) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next() == Some(&format!("{node:x}")) {
            return None;
        }
        Some(match words.next() {
            Some("readers") => Self::Readers,
            Some("grown") => words.map(grown).collect::<Option<_>>().map_or(Self::Anything, Self::Grown),
            _ => Self::Anything,
        })
    }
}

fn grown(word: &str) -> Option<(LedgerKey, u64)> {
    let mut parts = word.split(':');
    let namespace_no = parts.next()?.parse().ok()?;
    let ledger_id = Uuid::try_parse(parts.next()?).ok()?;
    let last_seq = parts.next()?.parse().ok()?;
    Some((LedgerKey { namespace_no, ledger_id }, last_seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledgers(count: i32) -> Vec<(LedgerKey, u64)> {
        let key = |namespace_no| LedgerKey { namespace_no, ledger_id: Uuid::from_u128(7) };
        (0..count).map(|number| (key(number), u64::MAX)).collect()
    }

    #[test]
    fn other_nodes_read_what_a_node_tells() {
        for news in [NodeNews::Readers, NodeNews::Anything, NodeNews::Grown(ledgers(100))] {
            let text = news.to_text(1);
            assert!(text.len() <= MESSAGE_BYTES_MAX);
            assert_eq!(NodeNews::from_text(&text, 2), Some(news));
            assert_eq!(NodeNews::from_text(&text, 1), None);
        }
        assert_eq!(
            NodeNews::from_text(&NodeNews::Grown(ledgers(1_000)).to_text(1), 2),
            Some(NodeNews::Anything)
        );
        for text in ["", "1", "1 later", "1 grown x", "1 grown 1:2:3", "1 grown 1:zz:3"] {
            assert_eq!(NodeNews::from_text(text, 2), Some(NodeNews::Anything), "{text}");
        }
    }
}
