//! Vectors in Postgres: one table for each number of dimensions, which all spaces share.
//!
//! With the extension `vector` the database compares them with its operators. Without it, where
//! nobody may install it, they are arrays of numbers, and plain SQL calculates.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::{COMPARED_MAX, Failure, Item, Metric, Near};
use crate::postgres::{self, Argument, Postgres, Row, Type};

/// Only one gateway at a time makes tables: two at once would trip over each other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8386658467)";

/// The vectors of one space.
pub(super) struct Pgvector {
    postgres: Rc<Postgres>,
    space: String,
    dimensions: usize,
    metric: Metric,
    /// What the database has; `None` while it is not known.
    kind: Cell<Option<Kind>>,
}

/// What a vector is for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The extension's type.
    Vector,
    /// An array of numbers.
    Reals,
}

impl Pgvector {
    pub(super) fn new(
        postgres: Rc<Postgres>,
        space: String,
        dimensions: usize,
        metric: Metric,
    ) -> Self {
        Self { postgres, space, dimensions, metric, kind: Cell::default() }
    }

    pub(super) fn place(&self) -> String {
        self.postgres.place()
    }

    pub(super) async fn keep(&self, item: &Item<'_>) -> Result<(), Failure> {
        let kind = self.kind().await?;
        let (table, cast) = (self.table(kind), kind.cast());
        let seconds = item.ttl.as_secs_f64();
        let sql = format!(
            "INSERT INTO {table} (space, scope, key, v, value, expires_at) \
             VALUES ($1, $2, $3, $4{cast}, $5, now() + $6 * interval '1 second') \
             ON CONFLICT (space, key) DO UPDATE SET scope = excluded.scope, v = excluded.v, \
             value = excluded.value, expires_at = excluded.expires_at"
        );
        self.ask(
            &sql,
            &[
                (&self.space, Type::TEXT),
                (&item.scope, Type::TEXT),
                (&item.key, Type::TEXT),
                (&item.vector, Type::FLOAT4_ARRAY),
                (&item.value, Type::BYTEA),
                (&seconds, Type::FLOAT8),
            ],
        )
        .await?;
        let over = format!("DELETE FROM {table} WHERE space = $1 AND expires_at <= now()");
        self.ask(&over, &[(&self.space, Type::TEXT)]).await?;
        if kind == Kind::Reals {
            let more = format!(
                "DELETE FROM {table} WHERE space = $1 AND key IN (SELECT key FROM {table} \
                 WHERE space = $1 AND scope = $2 ORDER BY expires_at DESC OFFSET {COMPARED_MAX})"
            );
            let arguments: [Argument<'_>; 2] =
                [(&self.space, Type::TEXT), (&item.scope, Type::TEXT)];
            self.ask(&more, &arguments).await?;
        }
        Ok(())
    }

    pub(super) async fn find(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let table = self.table(self.kind().await?);
        let sql = format!(
            "SELECT value FROM {table} WHERE space = $1 AND key = $2 AND expires_at > now()"
        );
        let rows = self.ask(&sql, &[(&self.space, Type::TEXT), (&key, Type::TEXT)]).await?;
        rows.first().map(|row| column::<Vec<u8>>(row, 0).map(Bytes::from)).transpose()
    }

    pub(super) async fn nearest(
        &self,
        scope: &str,
        vector: &[f32],
    ) -> Result<Option<Near>, Failure> {
        let kind = self.kind().await?;
        let (table, distance) = (self.table(kind), self.distance(kind));
        let sql = format!(
            "SELECT key, value, d FROM (SELECT key, value, ({distance})::float8 AS d \
             FROM {table} WHERE space = $1 AND scope = $2 AND expires_at > now()) AS all_of_them \
             WHERE d = d AND d IS NOT NULL ORDER BY d LIMIT 1"
        );
        let arguments: [Argument<'_>; 3] =
            [(&self.space, Type::TEXT), (&scope, Type::TEXT), (&vector, Type::FLOAT4_ARRAY)];
        let rows = self.ask(&sql, &arguments).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (key, value) = (column(row, 0)?, column::<Vec<u8>>(row, 1)?.into());
        let distance = column(row, 2)?;
        // For pgvector what has no length has no distance.
        let is_number = |near: &Near| near.distance.is_finite();
        Ok(Some(Near { key, distance, value }).filter(is_number))
    }

    async fn ask(&self, sql: &str, arguments: &[Argument<'_>]) -> Result<Vec<Row>, Failure> {
        self.postgres.ask(sql, arguments).await.map_err(|failure| {
            if failure.is_missing_table() {
                // Somebody has dropped it; the next one makes it anew.
                self.kind.set(None);
            }
            failure.into()
        })
    }

    fn table(&self, kind: Kind) -> String {
        match kind {
            Kind::Vector => format!("silverback_vectors_{}", self.dimensions),
            Kind::Reals => format!("silverback_reals_{}", self.dimensions),
        }
    }

    /// The distance between a row and the third argument.
    fn distance(&self, kind: Kind) -> &'static str {
        match (kind, self.metric) {
            (Kind::Vector, Metric::Cosine) => "v <=> $3::real[]::vector",
            (Kind::Vector, Metric::Euclidean) => "v <-> $3::real[]::vector",
            (Kind::Reals, Metric::Cosine) => {
                "SELECT 1 - sum(x::float8 * y) / \
                 nullif(sqrt(sum(x::float8 * x)) * sqrt(sum(y::float8 * y)), 0) \
                 FROM unnest(v, $3::real[]) AS pairs (x, y)"
            }
            (Kind::Reals, Metric::Euclidean) => {
                "SELECT sqrt(sum((x::float8 - y) ^ 2)) FROM unnest(v, $3::real[]) AS pairs (x, y)"
            }
        }
    }

    /// What the database has. The table is there afterwards.
    async fn kind(&self) -> Result<Kind, Failure> {
        if let Some(kind) = self.kind.get() {
            return Ok(kind);
        }
        let kind = if self.has_extension().await? { Kind::Vector } else { Kind::Reals };
        let (table, dimensions) = (self.table(kind), self.dimensions);
        let column = match kind {
            Kind::Vector => format!("vector({dimensions})"),
            Kind::Reals => "real[]".to_owned(),
        };
        let is_there =
            self.postgres.ask("SELECT to_regclass($1)::oid", &[(&table, Type::TEXT)]).await?;
        let is_there = is_there.first().is_some_and(|row| {
            let oid = row.try_get::<_, Option<u32>>(0);
            oid.is_ok_and(|oid| oid.is_some())
        });
        if !is_there {
            self.postgres
                .run(&format!(
                    "{LOCK}; CREATE TABLE IF NOT EXISTS {table} (space text NOT NULL, \
                     scope text NOT NULL, key text NOT NULL, v {column} NOT NULL, \
                     value bytea NOT NULL, expires_at timestamptz NOT NULL, \
                     PRIMARY KEY (space, key)); \
                     CREATE INDEX IF NOT EXISTS {table}_scope ON {table} (space, scope)"
                ))
                .await?;
        }
        self.kind.set(Some(kind));
        Ok(kind)
    }

    /// Whether the extension is there, installed now if need be and possible.
    async fn has_extension(&self) -> Result<bool, Failure> {
        let asks = "SELECT 1 FROM pg_extension WHERE extname = 'vector'";
        if !self.postgres.ask(asks, &[]).await?.is_empty() {
            return Ok(true);
        }
        match self.postgres.run(&format!("{LOCK}; CREATE EXTENSION IF NOT EXISTS vector")).await {
            Ok(()) => Ok(true),
            Err(postgres::Failure::Refused { words, .. }) => {
                tracing::warn!(
                    postgres = self.place(),
                    "the extension vector is not there ({words}): distances are calculated in \
                     plain SQL, among {COMPARED_MAX} items of a scope at most; CREATE EXTENSION \
                     vector as its superuser, and load the configuration again"
                );
                Ok(false)
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Kind {
    /// What an array of numbers becomes.
    fn cast(self) -> &'static str {
        match self {
            Self::Vector => "::real[]::vector",
            Self::Reals => "::real[]",
        }
    }
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T, Failure> {
    row.try_get(index).map_err(|_| Failure::Strange("pgvector"))
}
