//! Removes the rows of deleted namespaces, in small jobs.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::Mutex;
use tracing::warn;

use super::{control::delete_ledger, lease::Lease, session::Session};
use crate::store::Swept;

/// A table with rows of a ledger: the key by which they are removed, its type, and the lowest value of that.
struct Table {
    name: &'static str,
    key: &'static str,
    key_type: &'static str,
    key_min: &'static str,
}

/// Of subscriptions their own table is the first: whoever changes the others holds its row.
const TABLES: [Table; 7] = [
    Table {
        name: "subscriptions",
        key: "subscription_no",
        key_type: "bigint",
        key_min: "-9223372036854775808",
    },
    Table { name: "leases", key: "subscription_no", key_type: "bigint", key_min: "-9223372036854775808" },
    Table { name: "parked", key: "subscription_no", key_type: "bigint", key_min: "-9223372036854775808" },
    Table { name: "stored_events", key: "seq", key_type: "bigint", key_min: "-9223372036854775808" },
    Table {
        name: "identities",
        key: "digest",
        key_type: "uuid",
        key_min: "00000000-0000-0000-0000-000000000000",
    },
    Table { name: "topics", key: "topic_no", key_type: "integer", key_min: "-2147483648" },
    Table { name: "commits", key: "commit_no", key_type: "bigint", key_min: "-9223372036854775808" },
];

/// Does one job after the other, on a connection that is open while there is something to do.
pub(super) struct Sweeper {
    session: Session,
    jobs: Mutex<Option<Jobs>>,
}

impl Sweeper {
    pub(super) fn new(session: Session) -> Self {
        Self { session, jobs: Mutex::new(None) }
    }

    /// Removes up to `rows_max` rows of one namespace, and the namespace itself where these were the last ones. Looks
    /// with a connection of `pool` first, as there is rarely something to do.
    pub(super) async fn sweep(&self, pool: &PgPool, rows_max: usize) -> sqlx::Result<Swept> {
        let mut kept = self.jobs.lock().await;
        // Out of its place while a job runs: whatever interrupts that ends the connection.
        let mut jobs = match kept.take() {
            Some(jobs) => jobs,
            None => {
                let mut lease = Lease::take(pool).await?;
                let is_any_deleted = is_any_deleted(lease.connection()).await?;
                lease.give_back();
                if !is_any_deleted {
                    return Ok(Swept::default());
                }
                Jobs { connection: self.session.connect().await?, place: None }
            }
        };
        let swept = jobs.next(rows_max).await?;
        if swept.more {
            *kept = Some(jobs);
        } else {
            jobs.close().await;
        }
        Ok(swept)
    }

    pub(super) async fn close(&self) {
        if let Some(jobs) = self.jobs.lock().await.take() {
            jobs.close().await;
        }
    }
}

/// Remembers where the last job ended. Rows that were deleted stay in the index until they are vacuumed, and under a
/// long snapshot (a backup) beyond that: without the place each job would walk over all of them.
struct Jobs {
    connection: PgConnection,
    place: Option<Place>,
}

impl Jobs {
    async fn next(&mut self, rows_max: usize) -> sqlx::Result<Swept> {
        let place = self.place.take();
        let mut transaction = self.connection.begin().await?;
        let Some(namespace_no) = claim(&mut transaction, place.as_ref()).await? else {
            transaction.rollback().await?;
            return Ok(Swept::default());
        };
        let place = place.filter(|place| place.namespace_no == namespace_no);
        let mut place = place.unwrap_or_else(|| Place::first(namespace_no));
        // Where the deletion ended before its second step. Nothing is appended after this.
        delete_ledger(&mut transaction, namespace_no).await?;
        let rows = place.remove_rows(&mut transaction, rows_max as u64).await?;
        let is_empty = place.table == TABLES.len();
        if is_empty {
            sqlx::query("DELETE FROM sekali.namespaces WHERE namespace_no = $1")
                .bind(namespace_no)
                .execute(&mut *transaction)
                .await?;
        }
        let more = !is_empty || is_any_deleted(&mut transaction).await?;
        transaction.commit().await?;
        self.place = (!is_empty).then_some(place);
        Ok(Swept { rows, more })
    }

    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "a connection to the database did not close well"
            );
        }
    }
}

/// Whether a namespace is being deleted. It has no name, by which the index finds it.
async fn is_any_deleted(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM sekali.namespaces WHERE name IS NULL)")
        .fetch_one(connection)
        .await
}

/// Takes a namespace that is being deleted, and that no other node works on: the last one, or else any, so that one
/// whose jobs fail does not keep the others waiting.
async fn claim(connection: &mut PgConnection, last: Option<&Place>) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar(
        "SELECT namespace_no FROM sekali.namespaces WHERE name IS NULL
         ORDER BY namespace_no = $1 DESC NULLS LAST, random() LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .bind(last.map(|place| place.namespace_no))
    .fetch_optional(connection)
    .await
}

/// Where the next job begins: in this table, at this key.
struct Place {
    namespace_no: i32,
    table: usize,
    key: String,
}

impl Place {
    fn first(namespace_no: i32) -> Self {
        Self { namespace_no, table: 0, key: TABLES[0].key_min.to_owned() }
    }

    /// Removes up to `rows_max` rows, table by table; stands behind the last table where there are no more.
    async fn remove_rows(&mut self, connection: &mut PgConnection, rows_max: u64) -> sqlx::Result<u64> {
        let (mut removed, mut rows_left) = (0, rows_max);
        while rows_left > 0
            && let Some(table) = TABLES.get(self.table)
        {
            let found = self.find_last(connection, table, rows_left).await?;
            if let Some((key, _)) = &found {
                removed += self.remove_to(connection, table, key).await?;
            }
            match found {
                Some((key, rows)) if rows == rows_left as i64 => {
                    self.key = key;
                    rows_left = 0;
                }
                fewer => {
                    rows_left -= fewer.map_or(0, |(_, rows)| rows as u64);
                    self.table += 1;
                    self.key = TABLES.get(self.table).map_or("", |next| next.key_min).to_owned();
                }
            }
        }
        Ok(removed)
    }

    /// The key of the last of the next up to `rows_max` rows, and how many these are; `None` if there are none.
    async fn find_last(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        rows_max: u64,
    ) -> sqlx::Result<Option<(String, i64)>> {
        let Table { name, key, key_type, .. } = table;
        // Planned each time: the tables are of any size.
        sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {key}::text, number FROM (
                 SELECT {key}, row_number() OVER (ORDER BY {key}) AS number FROM sekali.{name}
                 WHERE namespace_no = $1 AND {key} >= $2::{key_type} ORDER BY {key} LIMIT $3
             ) next ORDER BY number DESC LIMIT 1"
        )))
        .bind(self.namespace_no)
        .bind(&self.key)
        .bind(rows_max as i64)
        .persistent(false)
        .fetch_optional(connection)
        .await
    }

    /// Removes the rows up to the key `last`.
    async fn remove_to(&self, connection: &mut PgConnection, table: &Table, last: &str) -> sqlx::Result<u64> {
        let Table { name, key, key_type, .. } = table;
        let removed = sqlx::query(AssertSqlSafe(format!(
            "DELETE FROM sekali.{name}
             WHERE namespace_no = $1 AND {key} >= $2::{key_type} AND {key} <= $3::{key_type}"
        )))
        .bind(self.namespace_no)
        .bind(&self.key)
        .bind(last)
        .persistent(false)
        .execute(connection)
        .await?;
        Ok(removed.rows_affected())
    }
}
