//! Privileges: changing one ACL into another by REVOKE and GRANT.
//!
//! The required changes and their order are determined in [`change`]; here they become statements.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

mod change;

use change::{Change, Edge, Step, Verb};

use crate::script::{Revoked, Script, Unhandled};

/// One privilege of one role by one grantor; names are quoted, `PUBLIC` is everybody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Grant {
    pub grantee: String,
    pub grantor: String,
    pub privilege: String,
    pub grantable: bool,
}

/// A list of them in the order of the catalog.
#[derive(Clone, Copy, Debug)]
pub struct Acl<'a>(pub &'a [Grant]);

impl<'a> Acl<'a> {
    /// Statements that change it to `to` for an object of `owner`. `on` is the text between ON and FROM:
    /// `TABLE public.t`.
    pub fn become_(self, to: Acl<'a>, owner: Option<&'a str>, on: &str, script: &mut Script) {
        self.change(to, owner, "", on, script);
    }

    /// The same for a column: `column` follows each privilege. A role that may grant on the table may grant
    /// on its columns, and a REVOKE on the table also applies to its columns: the table's privileges must
    /// precede in the script ([`crate::Object::finish_parts`]).
    pub fn become_of_column(self, to: Acl<'a>, column: &str, on: &str, script: &mut Script) {
        self.change(to, None, &format!(" ({column})"), on, script);
    }

    fn change(
        self,
        to: Acl<'a>,
        owner: Option<&'a str>,
        behind: &str,
        on: &str,
        script: &mut Script,
    ) {
        let mut change = Change::new(self, to, owner);
        if behind.is_empty() {
            change.has_columns = on.starts_with("TABLE ");
        } else {
            change.lose(&script.revoked);
        }
        match change.steps() {
            Some(steps) => write(&steps, behind, on, script),
            None => script.fail(Unhandled::new("privileges", on)),
        }
    }

    /// Statements that give exactly these privileges to a new object of `owner`, whatever default privileges
    /// have granted on it. `others` are the roles in those.
    pub fn give_instead(
        self,
        owner: Option<&'a str>,
        on: &str,
        others: &[String],
        script: &mut Script,
    ) {
        let mut roles: BTreeSet<&str> = others.iter().map(String::as_str).collect();
        roles.insert("PUBLIC");
        roles.extend(owner);
        let list: Vec<&str> = roles.into_iter().collect();
        let sql = format!("REVOKE ALL ON {on} FROM {}", list.join(", "));
        script.push_with_roles("revoke", sql, &named(&list));
        Acl(&[]).change(self, owner, "", on, script);
    }

    /// As after ALTER … OWNER TO (aclnewowner).
    pub fn with_owner(self, from: &str, to: &str) -> Vec<Grant> {
        let renamed = |name: &String| {
            if name == from {
                to.to_owned()
            } else {
                name.clone()
            }
        };
        let mut moved: Vec<Grant> = Vec::new();
        for grant in self.0 {
            let grant = Grant {
                grantee: renamed(&grant.grantee),
                grantor: renamed(&grant.grantor),
                ..grant.clone()
            };
            let same = |other: &&mut Grant| {
                (&other.grantee, &other.grantor, &other.privilege)
                    == (&grant.grantee, &grant.grantor, &grant.privilege)
            };
            match moved.iter_mut().find(same) {
                Some(other) => other.grantable |= grant.grantable,
                None => moved.push(grant),
            }
        }
        moved
    }
}

/// Combines steps of the same verb and the same roles into one statement, unless another step with the same
/// privilege is between them: privileges are independent of each other.
fn write(steps: &[Step<'_>], behind: &str, on: &str, script: &mut Script) {
    let mut groups: Vec<Vec<Step<'_>>> = Vec::new();
    // The last group that has a privilege, and the last of a verb and its roles.
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut open: Vec<(Step<'_>, usize)> = Vec::new();
    for step in steps {
        let alike = |other: &Step<'_>| {
            (other.verb, other.edge.grantor, other.edge.grantee)
                == (step.verb, step.edge.grantor, step.edge.grantee)
        };
        let after = last.get(step.edge.privilege).copied();
        // Lists are by grantee: steps that can be combined are close.
        let group = open
            .iter()
            .rev()
            .take(64)
            .find(|(other, group)| alike(other) && after.is_none_or(|after| *group > after))
            .map(|(_, group)| *group);
        let group = group.unwrap_or_else(|| {
            groups.push(Vec::new());
            open.push((*step, groups.len() - 1));
            groups.len() - 1
        });
        groups[group].push(*step);
        last.insert(step.edge.privilege, group.max(after.unwrap_or(0)));
    }
    for group in groups {
        let Step { edge, verb } = group[0];
        let list: Vec<String> = group
            .iter()
            .map(|step| format!("{}{behind}", step.edge.privilege))
            .collect();
        let (list, Edge { grantee, .. }) = (list.join(", "), edge);
        let (verb, sql) = match verb {
            Verb::Grant { option } => {
                let option = if option { " WITH GRANT OPTION" } else { "" };
                (
                    "grant",
                    format!("GRANT {list} ON {on} TO {grantee}{option}"),
                )
            }
            Verb::Revoke {
                option_only,
                cascade,
            } => {
                if behind.is_empty() {
                    script.revoked.extend(group.iter().map(|step| Revoked {
                        grantor: edge.grantor.to_owned(),
                        grantee: grantee.to_owned(),
                        privilege: step.edge.privilege.to_owned(),
                        option_only,
                    }));
                }
                let option = if option_only { "GRANT OPTION FOR " } else { "" };
                let cascade = if cascade { " CASCADE" } else { "" };
                (
                    "revoke",
                    format!("REVOKE {option}{list} ON {on} FROM {grantee}{cascade}"),
                )
            }
        };
        script.push_with_roles(verb, sql, &named(&[grantee, edge.grantor]));
        if let Some(last) = script.statements.last_mut() {
            last.grantor = Some(edge.grantor.to_owned());
        }
    }
}

fn named<'a>(roles: &[&'a str]) -> Vec<&'a str> {
    roles
        .iter()
        .copied()
        .filter(|role| *role != "PUBLIC")
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `grantor>grantee:privilege`, `*` for the option.
    fn list(text: &str) -> Vec<Grant> {
        let grant = |word: &str| {
            let (roles, privilege) = word.split_once(':').unwrap();
            let (grantor, grantee) = roles.split_once('>').unwrap();
            Grant {
                grantor: grantor.to_owned(),
                grantee: grantee.to_owned(),
                privilege: privilege.trim_end_matches('*').to_owned(),
                grantable: privilege.ends_with('*'),
            }
        };
        text.split_whitespace().map(grant).collect()
    }

    fn said(from: &str, to: &str) -> Vec<String> {
        let (from, to) = (list(from), list(to));
        let mut script = Script::default();
        Acl(&from).become_(Acl(&to), Some("o"), "SCHEMA s", &mut script);
        assert_eq!(script.unhandled, None);
        let line = |statement: &crate::script::Statement| {
            let by = statement.grantor.as_deref().filter(|by| *by != "o");
            format!(
                "{}{}",
                statement.sql.replace(" ON SCHEMA s", ""),
                by.map_or_else(String::new, |by| format!(" as {by}"))
            )
        };
        script.statements.iter().map(line).collect()
    }

    #[test]
    fn several_privileges_stand_in_one_statement() {
        assert_eq!(
            said(
                "o>o:C o>o:U",
                "o>o:C o>o:U o>a:C* o>a:U* o>b:C o>b:U* a>c:U"
            ),
            [
                "GRANT C, U TO a WITH GRANT OPTION",
                "GRANT C TO b",
                "GRANT U TO b WITH GRANT OPTION",
                "GRANT U TO c as a"
            ]
        );
        assert_eq!(said("o>a:C o>a:U", ""), ["REVOKE C, U FROM a"]);
    }

    #[test]
    fn what_rests_on_an_option_goes_with_it_and_comes_back() {
        assert_eq!(
            said("o>a:C* a>b:C*  b>c:C", ""),
            ["REVOKE C FROM a CASCADE"]
        );
        assert_eq!(
            said("o>a:C* a>b:C", "o>a:C"),
            ["REVOKE GRANT OPTION FOR C FROM a CASCADE"]
        );
        assert_eq!(
            said("o>a:C* o>b:C* a>c:C", "o>b:C* b>c:C"),
            ["REVOKE C FROM a CASCADE", "GRANT C TO c as b"]
        );
        assert_eq!(said("o>a:C* a>b:C", "o>a:C*"), ["REVOKE C FROM b as a"]);
    }

    #[test]
    fn a_circle_that_its_owner_has_left_is_built_by_lending() {
        let steps = said("", "a>b:C* b>a:C*");
        assert_eq!(
            steps,
            [
                "GRANT C TO a WITH GRANT OPTION",
                "GRANT C TO b WITH GRANT OPTION as a",
                "GRANT C TO b WITH GRANT OPTION",
                "GRANT C TO a WITH GRANT OPTION as b",
                "REVOKE C FROM a",
                "REVOKE C FROM b"
            ]
        );
    }

    #[test]
    fn a_revoke_on_a_table_takes_from_its_columns_what_is_given_again() {
        let (table, column) = (list("o>a:S*"), list("o>a:S a>b:S"));
        let mut script = Script::default();
        Acl(&table).become_(Acl(&[]), Some("o"), "TABLE t", &mut script);
        Acl(&column).become_of_column(Acl(&column), "c", "TABLE t", &mut script);
        let said: Vec<&str> = script.statements.iter().map(|s| s.sql.as_str()).collect();
        assert_eq!(
            said,
            [
                "REVOKE S ON TABLE t FROM a CASCADE",
                "GRANT S (c) ON TABLE t TO a"
            ]
        );
    }

    #[test]
    fn a_long_list_takes_no_square_of_time() {
        let all: String = (0..20_000).map(|n| format!("o>r{n}:C ")).collect();
        assert_eq!(said("", &all).len(), 20_000);
        assert_eq!(said(&all, "").len(), 20_000);
    }
}
