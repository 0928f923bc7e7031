//! The loads that are drained: tables that are there before the capture, then changes.
//!
//! Each is a file in `loads/`, in two parts. Two of them are pgbench's: many clients at once are
//! part of what they measure.

use harness::Cluster;

/// What separates tables from changes in a file.
const MARK: &str = "-- changes\n";

pub struct Load {
    pub name: &'static str,
    pub what: &'static str,
    sql: &'static str,
    changes_beside: fn(&Cluster),
}

pub static REFERENCE: Load = Load {
    name: "reference",
    what: "60,000 pgbench transactions (scale 10, 4 clients), a 500,000-row insert, 100,000 updates, 50,000 deletes",
    sql: include_str!("loads/reference.sql"),
    changes_beside: |c| c.pgbench(&["-n", "-c", "4", "-j", "2", "-t", "15000"]),
};

/// Rows that the reference load inserts, updates and deletes.
pub const REFERENCE_CHANGES: u32 = 60_000 * 4 + 500_000 + 100_000 + 50_000;

pub static OTHERS: [Load; 6] = [
    Load {
        name: "bulk",
        what: "inserts of 400,000 rows at once and of 60 times 5,000 rows",
        sql: include_str!("loads/bulk.sql"),
        changes_beside: nothing,
    },
    Load {
        name: "wide",
        what: "40 columns of mixed types: 120,000 inserts, 30,000 updates, 15,000 deletes",
        sql: include_str!("loads/wide.sql"),
        changes_beside: nothing,
    },
    Load {
        name: "documents",
        what: "jsonb and text of 2 to 12 kB, most of it in TOAST: 24,000 inserts, 8,000 updates",
        sql: include_str!("loads/documents.sql"),
        changes_beside: nothing,
    },
    Load {
        name: "full identity",
        what: "50,000 small transactions of 4 clients on 8 tables with REPLICA IDENTITY FULL",
        sql: include_str!("loads/full_identity.sql"),
        changes_beside: full_identity,
    },
    Load {
        name: "1000 tables",
        what: "10,000 transactions on 1,000 tables, each changing 10 of them",
        sql: include_str!("loads/thousand_tables.sql"),
        changes_beside: nothing,
    },
    Load {
        name: "unchanged TOAST",
        what: "300,000 updates of rows whose 8 kB in TOAST do not change",
        sql: include_str!("loads/unchanged_toast.sql"),
        changes_beside: nothing,
    },
];

impl Load {
    pub fn make_tables(&self, c: &Cluster) {
        if self.name == REFERENCE.name {
            c.pgbench(&["-i", "-q", "-s", "10"]);
        }
        c.sql(self.parts().0);
    }

    pub fn change_them(&self, c: &Cluster) {
        (self.changes_beside)(c);
        c.sql(self.parts().1);
    }

    fn parts(&self) -> (&str, &str) {
        let parts = self.sql.split_once(MARK);
        parts.expect("a load has tables and changes")
    }
}

fn nothing(_: &Cluster) {}

fn full_identity(c: &Cluster) {
    let script = c.root().join("full_identity.pgbench");
    let text = include_str!("loads/full_identity.pgbench");
    std::fs::write(&script, text).expect("the script can be written");
    let script = script.display().to_string();
    c.pgbench(&["-n", "-c", "4", "-j", "2", "-t", "12500", "-f", &script]);
}
