//! What pg_constraint says of a foreign key, and the statement that makes it again.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Row;

use crate::connection::Session;
use crate::error::Result;
use crate::quote::{ident, shown};

/// All that pg_constraint says of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub source: u32,
    pub table: u32,
    pub refers_to: u32,
    pub columns: Vec<i16>,
    pub refers_columns: Vec<i16>,
    pub matches: String,
    pub on_update: String,
    pub on_delete: String,
    pub deleted_columns: Vec<i16>,
    pub is_deferrable: bool,
    pub is_deferred: bool,
    pub is_valid: bool,
    pub is_enforced: bool,
    pub is_period: bool,
    pub name: Vec<u8>,
    pub comment: Option<Vec<u8>>,
}

pub(super) const FOUND: &str = "SELECT conrelid, confrelid, conkey, confkey, confmatchtype::text, confupdtype::text, confdeltype::text, \
    coalesce(confdelsetcols, '{}'), condeferrable, condeferred, convalidated, \
    coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true), coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false), \
    textsend(conname::text), textsend(obj_description(oid, 'pg_constraint')), \
    convert_to(format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), current_setting('client_encoding')) \
    FROM pg_constraint AS c WHERE contype = 'f' AND conparentid = 0 ORDER BY oid";

/// Its tables and columns by their names of now, as far as they are there; how deep its table is among partitions.
const WORDS: &str = "WITH names AS (SELECT t.what, \
        string_agg(quote_ident(attname), ', ' ORDER BY n) AS list, count(attname) AS count \
    FROM (VALUES ('a', $1::oid, $2::int2[]), ('b', $3, $4), ('c', $1, $5)) AS t (what, relation, numbers) \
    CROSS JOIN unnest(numbers) WITH ORDINALITY AS u (number, n) \
    LEFT JOIN pg_attribute ON attrelid = relation AND attnum = number AND NOT attisdropped GROUP BY what) \
    SELECT r.relkind = 'p', format('%I.%I', rn.nspname, r.relname), format('%I.%I', fn.nspname, f.relname), \
        (SELECT list FROM names WHERE what = 'a' AND count = cardinality($2)), \
        (SELECT list FROM names WHERE what = 'b' AND count = cardinality($4)), \
        (SELECT list FROM names WHERE what = 'c'), (SELECT count(*) FROM pg_partition_ancestors(r.oid)) \
    FROM pg_class AS r JOIN pg_namespace AS rn ON rn.oid = r.relnamespace, \
        pg_class AS f JOIN pg_namespace AS fn ON fn.oid = f.relnamespace WHERE r.oid = $1 AND f.oid = $3";

/// A row of [`FOUND`].
pub(super) fn kept(row: &Row) -> Kept {
    Kept {
        source: 0,
        table: row.get(0),
        refers_to: row.get(1),
        columns: row.get(2),
        refers_columns: row.get(3),
        matches: row.get(4),
        on_update: row.get(5),
        on_delete: row.get(6),
        deleted_columns: row.get(7),
        is_deferrable: row.get(8),
        is_deferred: row.get(9),
        is_valid: row.get(10),
        is_enforced: row.get(11),
        is_period: row.get(12),
        name: row.get(13),
        comment: row.get(14),
    }
}

/// A key in words.
pub(super) struct Words {
    pub what: String,
    pub add: Vec<u8>,
    pub comment: Option<Vec<u8>>,
    /// It can be NOT VALID, and is not.
    pub can_wait: bool,
    pub depth: i64,
}

impl Kept {
    /// `None` if a table or a column is not there any more: the source has dropped the key with it.
    pub(super) async fn words(&self, session: &Session) -> Result<Option<Words>> {
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&self.table, Type::OID),
            (&self.columns, Type::INT2_ARRAY),
            (&self.refers_to, Type::OID),
            (&self.refers_columns, Type::INT2_ARRAY),
            (&self.deleted_columns, Type::INT2_ARRAY),
        ];
        let query = format!(
            "SELECT is_p, textsend(t), textsend(f), textsend(a), textsend(b), textsend(c), depth \
            FROM ({WORDS}) AS w (is_p, t, f, a, b, c, depth)"
        );
        let rows = session.client.query_typed(&query, &values).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let text = |at: usize| row.get::<_, Option<Vec<u8>>>(at);
        let (Some(table), Some(refers_to), Some(columns), Some(refers_columns)) =
            (text(1), text(2), text(3), text(4))
        else {
            return Ok(None);
        };
        let is_partitioned: bool = row.get(0);
        let period = |list: Vec<u8>| match list.windows(2).rposition(|two| two == b", ") {
            Some(at) if self.is_period => [&list[..at + 2], b"PERIOD ", &list[at + 2..]].concat(),
            _ => list,
        };
        let name = ident(&self.name);
        let only: &[u8] = if is_partitioned { b"" } else { b"ONLY " };
        let of = [only, &table[..]].concat();
        let mut add = [
            b"ALTER TABLE ",
            &of[..],
            b" ADD CONSTRAINT ",
            &name,
            b" FOREIGN KEY (",
        ]
        .concat();
        add.extend(period(columns));
        add.extend([b") REFERENCES ", &refers_to[..], b" ("].concat());
        add.extend(period(refers_columns));
        add.extend_from_slice(b")");
        add.extend(self.actions(text(5)));
        let is_waiting = self.is_enforced && !self.is_valid;
        if is_waiting {
            add.extend_from_slice(b" NOT VALID");
        }
        let comment = self.comment.as_ref().map(|comment| {
            let on = [
                b"COMMENT ON CONSTRAINT ",
                &name[..],
                b" ON ",
                &table,
                b" IS ",
            ]
            .concat();
            [&on[..], &crate::quote::literal(comment)].concat()
        });
        Ok(Some(Words {
            what: format!("FK CONSTRAINT {} {}", shown(&table), shown(&self.name)),
            can_wait: !is_partitioned && !is_waiting && self.is_enforced,
            add,
            comment,
            depth: row.get(6),
        }))
    }

    /// What follows the columns.
    fn actions(&self, deleted_columns: Option<Vec<u8>>) -> Vec<u8> {
        let mut text = Vec::new();
        if self.matches == "f" {
            text.extend_from_slice(b" MATCH FULL");
        }
        for (on, action) in [("UPDATE", &self.on_update), ("DELETE", &self.on_delete)] {
            let action = match action.as_str() {
                "r" => "RESTRICT",
                "c" => "CASCADE",
                "n" => "SET NULL",
                "d" => "SET DEFAULT",
                _ => continue,
            };
            text.extend(format!(" ON {on} {action}").into_bytes());
        }
        if let Some(columns) = deleted_columns {
            text.extend([b" (", &columns[..], b")"].concat());
        }
        if self.is_deferrable {
            text.extend_from_slice(b" DEFERRABLE");
        }
        if self.is_deferred {
            text.extend_from_slice(b" INITIALLY DEFERRED");
        }
        if !self.is_enforced {
            text.extend_from_slice(b" NOT ENFORCED");
        }
        text
    }
}
