//! Privileges: one list becomes another by REVOKE and GRANT.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::script::Script;

/// One privilege of one role by one grantor; names are quoted, `PUBLIC` is everybody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Grant {
    pub grantee: String,
    pub grantor: String,
    pub privilege: String,
    pub grantable: bool,
}

/// A list of them in the catalog's order, in which each grantor has what it grants by an entry before.
#[derive(Clone, Copy, Debug)]
pub struct Acl<'a>(pub &'a [Grant]);

impl Acl<'_> {
    /// Statements that make `to` of it. `on` is what stands between ON and FROM: `TABLE public.t`, or
    /// `(a, b) ON TABLE public.t`'s table alone.
    pub fn become_(self, to: Acl<'_>, on: &str, script: &mut Script) {
        self.change(to, "", on, script);
    }

    /// The same for a column: `column` stands behind each privilege.
    pub fn become_of_column(self, to: Acl<'_>, column: &str, on: &str, script: &mut Script) {
        self.change(to, &format!(" ({column})"), on, script);
    }

    fn change(self, to: Acl<'_>, behind: &str, on: &str, script: &mut Script) {
        if self.0 == to.0 {
            return;
        }
        let owner_of = |grants: &[Grant]| {
            grants
                .iter()
                .all(|grant| grant.grantor == grants[0].grantor)
        };
        let is_simple = owner_of(self.0)
            && owner_of(to.0)
            && self.0.iter().zip(to.0).all(|(a, b)| a.grantor == b.grantor);
        let lost = |grant: &&Grant| !to.0.contains(grant);
        let won = |grant: &&Grant| !self.0.contains(grant);
        if is_simple {
            for grant in self.0.iter().filter(lost) {
                let kept = to.0.iter().any(|other| {
                    other.grantee == grant.grantee && other.privilege == grant.privilege
                });
                if kept && !grant.grantable {
                    continue;
                }
                let option = if kept { "GRANT OPTION FOR " } else { "" };
                revoke(
                    &format!("{option}{}{behind}", grant.privilege),
                    grant,
                    on,
                    script,
                );
            }
            for grant in to.0.iter().filter(won) {
                give(grant, behind, on, script);
            }
            return;
        }
        // Grants of others go with those that they rest on: all is given again, in order.
        let roles: BTreeSet<&str> = self.0.iter().map(|grant| grant.grantee.as_str()).collect();
        for role in roles {
            let sql = format!("REVOKE ALL{behind} ON {on} FROM {role} CASCADE");
            script.push_with_roles("revoke", sql, &named(&[role]));
        }
        for grant in to.0 {
            give(grant, behind, on, script);
        }
    }

    /// Statements that give exactly these, whatever default privileges have given a new object.
    pub fn give_instead(self, on: &str, others: &[String], script: &mut Script) {
        let mut roles: BTreeSet<&str> = others.iter().map(String::as_str).collect();
        roles.insert("PUBLIC");
        roles.extend(self.0.iter().map(|grant| grant.grantee.as_str()));
        let list: Vec<&str> = roles.into_iter().collect();
        let sql = format!("REVOKE ALL ON {on} FROM {}", list.join(", "));
        script.push_with_roles("revoke", sql, &named(&list));
        for grant in self.0 {
            give(grant, "", on, script);
        }
    }

    /// As ALTER … OWNER TO leaves it (aclnewowner of utils/adt/acl.c).
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

fn named<'a>(roles: &[&'a str]) -> Vec<&'a str> {
    roles
        .iter()
        .copied()
        .filter(|role| *role != "PUBLIC")
        .collect()
}

fn revoke(what: &str, grant: &Grant, on: &str, script: &mut Script) {
    let sql = format!("REVOKE {what} ON {on} FROM {}", grant.grantee);
    script.push_with_roles("revoke", sql, &named(&[&grant.grantee]));
}

/// One privilege. The owner's grants need no word of who grants; another's stand in that role's session.
fn give(grant: &Grant, behind: &str, on: &str, script: &mut Script) {
    let option = if grant.grantable && grant.grantee != grant.grantor {
        " WITH GRANT OPTION"
    } else {
        ""
    };
    let sql = format!(
        "GRANT {}{behind} ON {on} TO {}{option}",
        grant.privilege, grant.grantee
    );
    script.push_with_roles("grant", sql, &named(&[&grant.grantee, &grant.grantor]));
    if let Some(last) = script.statements.last_mut() {
        last.grantor = Some(grant.grantor.clone());
    }
}
