//! Two ways to keep `seq` gapless and counts exact with several writers: the ledger's lock under READ COMMITTED, as the
//! service has it, or no lock under SERIALIZABLE, where Postgres aborts all but one of those that collide.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, types::Uuid};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Events that one transaction appends.
const BATCH: i64 = 100;
const WRITERS: usize = 8;

/// What one way reached with 8 writers, each appending 100 events a transaction.
#[derive(Debug)]
pub struct Isolation {
    pub commits_per_second: f64,
    /// Of all attempts.
    pub aborted_share: f64,
    /// Whether the counts and `seq` were right in the end.
    pub sound: bool,
}

#[derive(Clone, Copy)]
pub enum Way {
    LockUnderReadCommitted,
    NoLockUnderSerializable,
}

/// Runs 8 writers for so many seconds on a fresh database.
pub async fn measure(url: &str, way: Way, seconds: f64) -> Result<Isolation> {
    let mut connection = PgConnection::connect(url).await?;
    connection
        .execute(
            "CREATE TABLE ledger (id int PRIMARY KEY, last_seq bigint NOT NULL);
             INSERT INTO ledger VALUES (1, 0);
             CREATE TABLE appended (seq bigint PRIMARY KEY, event_id text NOT NULL UNIQUE);",
        )
        .await?;
    let begun = Instant::now();
    let writers = (0..WRITERS).map(|_| async {
        let mut connection = PgConnection::connect(url).await?;
        let (mut commits, mut aborts) = (0_u64, 0_u64);
        while begun.elapsed().as_secs_f64() < seconds {
            match append(&mut connection, way).await {
                Ok(()) => commits += 1,
                Err(error) if is_serialization_failure(&error) => {
                    aborts += 1;
                    connection.execute("ROLLBACK").await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok::<_, Box<dyn std::error::Error>>((commits, aborts))
    });
    let tallies = futures::future::try_join_all(writers).await?;
    let (commits, aborts) = tallies.iter().fold((0, 0), |sum, tally| (sum.0 + tally.0, sum.1 + tally.1));
    let sound =
        "SELECT (SELECT last_seq FROM ledger) = count(*) AND count(*) = coalesce(max(seq), 0) FROM appended";
    Ok(Isolation {
        commits_per_second: commits as f64 / begun.elapsed().as_secs_f64(),
        aborted_share: aborts as f64 / (commits + aborts) as f64,
        sound: sqlx::query_scalar(sound).fetch_one(&mut connection).await?,
    })
}

async fn append(connection: &mut PgConnection, way: Way) -> sqlx::Result<()> {
    let (isolation, lock) = match way {
        Way::LockUnderReadCommitted => ("READ COMMITTED", "FOR UPDATE"),
        Way::NoLockUnderSerializable => ("SERIALIZABLE", ""),
    };
    connection.execute(AssertSqlSafe(format!("BEGIN ISOLATION LEVEL {isolation}"))).await?;
    let last_seq: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT last_seq FROM ledger WHERE id = 1 {lock}")))
            .fetch_one(&mut *connection)
            .await?;
    let ids: Vec<String> = (0..BATCH).map(|_| Uuid::new_v4().to_string()).collect();
    sqlx::query(
        "INSERT INTO appended SELECT $1 + ordinal, id FROM unnest($2::text[]) WITH ORDINALITY AS e (id, ordinal)",
    )
    .bind(last_seq)
    .bind(ids)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE ledger SET last_seq = $1 WHERE id = 1")
        .bind(last_seq + BATCH)
        .execute(&mut *connection)
        .await?;
    connection.execute("COMMIT").await?;
    Ok(())
}

/// An abort that SERIALIZABLE asks to be tried again, or the unique `seq` that met a writer's copy of it first.
fn is_serialization_failure(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "40001" | "40P01" | "23505"))
}
