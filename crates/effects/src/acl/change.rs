//! The changes between two ACLs.
//!
//! An ACL is a graph for each privilege: a grantor is the owner, or has the grant option by an entry from
//! another role. The effect of a statement is computed as in the server (aclupdate, recursive_revoke and
//! check_circularity of utils/adt/acl.c), so that only differences are written, and a REVOKE that removes too
//! much is followed by GRANTs that restore it. If the result is not the required ACL, the change is
//! unhandled.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Acl, Grant};
use crate::script::Revoked;

/// Grantor, grantee and privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge<'a> {
    pub(super) grantor: &'a str,
    pub(super) grantee: &'a str,
    pub(super) privilege: &'a str,
}

impl<'a> Edge<'a> {
    fn of(grant: &'a Grant) -> Edge<'a> {
        Edge {
            grantor: &grant.grantor,
            grantee: &grant.grantee,
            privilege: &grant.privilege,
        }
    }
}

/// A privilege to add or to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    pub(super) edge: Edge<'a>,
    pub(super) verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Grant { option: bool },
    Revoke { option_only: bool, cascade: bool },
}

/// An ACL in the server's representation.
#[derive(Clone)]
struct State<'a> {
    owner: Option<&'a str>,
    /// Edges, and whether they include the grant option.
    edges: BTreeMap<Edge<'a>, bool>,
    /// The number of edges that give a role the grant option of a privilege.
    options: HashMap<(&'a str, &'a str), usize>,
    /// Grant options that roles must have without an edge, since they have granted privileges: through
    /// membership, or for a column through those on its table.
    inherited: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> State<'a> {
    fn set(&mut self, edge: Edge<'a>, grantable: Option<bool>) {
        let before = match grantable {
            Some(grantable) => self.edges.insert(edge, grantable),
            None => self.edges.remove(&edge),
        };
        let count = self
            .options
            .entry((edge.grantee, edge.privilege))
            .or_default();
        *count += usize::from(grantable == Some(true));
        *count -= usize::from(before == Some(true));
    }

    /// The grantor of a role's own grants (select_best_grantor).
    fn is_grantor(&self, role: &'a str, privilege: &'a str) -> bool {
        self.owner == Some(role)
            || self.options.get(&(role, privilege)).is_some_and(|n| *n > 0)
            || (self.owner.is_none() && self.inherited.contains(&(role, privilege)))
    }

    fn has_option(&self, role: &'a str, privilege: &'a str) -> bool {
        self.is_grantor(role, privilege) || self.inherited.contains(&(role, privilege))
    }

    /// REVOKE, with dependent privileges: true if it needs CASCADE.
    fn revoke(&mut self, edge: Edge<'a>, option_only: bool) -> bool {
        let Some(&was_grantable) = self.edges.get(&edge) else {
            return false;
        };
        self.set(edge, option_only.then_some(false));
        if !was_grantable || self.has_option(edge.grantee, edge.privilege) {
            return false;
        }
        let first = Edge {
            grantor: edge.grantee,
            grantee: "",
            privilege: "",
        };
        let rests_on_it: Vec<Edge<'a>> = self
            .edges
            .range(first..)
            .map(|(other, _)| *other)
            .take_while(|other| other.grantor == edge.grantee)
            .filter(|other| other.privilege == edge.privilege)
            .collect();
        for other in &rests_on_it {
            self.revoke(*other, false);
        }
        !rests_on_it.is_empty()
    }

    /// Whether the server accepts a GRANT (check_circularity).
    fn takes(&self, edge: Edge<'a>, option: bool) -> bool {
        if !self.is_grantor(edge.grantor, edge.privilege) {
            return false;
        }
        if !option || self.owner == Some(edge.grantor) {
            return true;
        }
        let mut without = self.clone();
        let is_his = |(other, grantable): &(&Edge<'a>, &bool)| {
            **grantable && other.grantee == edge.grantee && other.privilege == edge.privilege
        };
        let his: Vec<Edge<'a>> = self.edges.iter().filter(is_his).map(|(e, _)| *e).collect();
        for other in his {
            without.revoke(other, false);
        }
        without.has_option(edge.grantor, edge.privilege)
    }
}

/// The changes from one ACL to another.
pub(super) struct Change<'a> {
    state: State<'a>,
    wanted: BTreeMap<Edge<'a>, bool>,
    /// The required entries in the order of the catalog.
    order: Vec<Edge<'a>>,
    steps: Vec<Step<'a>>,
    /// A REVOKE also applies to columns, where more privileges can depend on a grant option.
    pub(super) has_columns: bool,
    /// Grant options that are granted temporarily by the owner to grantors that have none, or have one only
    /// from their own grantees.
    lent: Vec<Edge<'a>>,
}

impl<'a> Change<'a> {
    pub(super) fn new(from: Acl<'a>, to: Acl<'a>, owner: Option<&'a str>) -> Change<'a> {
        let mut state = State {
            owner,
            edges: BTreeMap::new(),
            options: HashMap::new(),
            inherited: BTreeSet::new(),
        };
        for list in [from.0, to.0] {
            let given: BTreeSet<(&str, &str)> = list
                .iter()
                .filter(|grant| grant.grantable)
                .map(|grant| (grant.grantee.as_str(), grant.privilege.as_str()))
                .collect();
            let granting = list
                .iter()
                .map(|grant| (grant.grantor.as_str(), grant.privilege.as_str()));
            state.inherited.extend(
                granting.filter(|option| {
                    !given.contains(option) && owner.is_none_or(|o| o != option.0)
                }),
            );
            // No role can grant the option to its own grantor (check_circularity) unless that has it
            // otherwise.
            let to_itself = list
                .iter()
                .filter(|grant| grant.grantable && grant.grantor == grant.grantee)
                .map(|grant| (grant.grantor.as_str(), grant.privilege.as_str()));
            let is_owner = |role: &str| owner == Some(role);
            state
                .inherited
                .extend(to_itself.filter(|option| !is_owner(option.0)));
        }
        for grant in from.0 {
            state.set(Edge::of(grant), Some(grant.grantable));
        }
        let wanted: BTreeMap<_, _> = to.0.iter().map(|g| (Edge::of(g), g.grantable)).collect();
        Change {
            state,
            wanted,
            order: to.0.iter().map(Edge::of).collect(),
            steps: Vec::new(),
            has_columns: false,
            lent: Vec::new(),
        }
    }

    /// What the table's REVOKEs have removed from this column.
    pub(super) fn lose(&mut self, revoked: &[Revoked]) {
        let edges: Vec<Edge<'a>> = self.state.edges.keys().copied().collect();
        for edge in edges {
            let is_it = |taken: &&Revoked| {
                (edge.grantor, edge.grantee, edge.privilege)
                    == (&*taken.grantor, &*taken.grantee, &*taken.privilege)
            };
            for taken in revoked.iter().filter(is_it) {
                self.state.revoke(edge, taken.option_only);
            }
        }
    }

    pub(super) fn steps(mut self) -> Option<Vec<Step<'a>>> {
        self.take()?;
        self.give()?;
        for edge in std::mem::take(&mut self.lent) {
            match self.wanted.get(&edge) {
                Some(true) => {}
                kept => self.revoke(edge, kept.is_some()),
            }
        }
        (self.state.edges == self.wanted).then_some(self.steps)
    }

    /// The entries to remove: the owner's first, since dependent ones are removed with them.
    fn take(&mut self) -> Option<()> {
        let mut edges: Vec<Edge<'a>> = self.state.edges.keys().copied().collect();
        let owner = self.state.owner;
        edges.sort_by_key(|edge| owner != Some(edge.grantor));
        for edge in edges {
            let wanted = self.wanted.get(&edge).copied();
            let is = self.state.edges.get(&edge).copied();
            if is.is_none() || is == wanted || wanted == Some(true) {
                continue;
            }
            if !self.state.is_grantor(edge.grantor, edge.privilege) {
                self.lend(edge)?;
            }
            self.revoke(edge, wanted.is_some());
        }
        Some(())
    }

    fn give(&mut self) -> Option<()> {
        let mut missing: Vec<Edge<'a>> = self.order.clone();
        missing.retain(|edge| self.state.edges.get(edge) != self.wanted.get(edge));
        while !missing.is_empty() {
            let count = missing.len();
            let mut later = Vec::new();
            for edge in missing {
                let option = self.wanted.get(&edge).copied().unwrap_or_default();
                if self.state.takes(edge, option) {
                    self.grant(edge, option);
                } else {
                    later.push(edge);
                }
            }
            if later.len() == count {
                self.lend(later[0])?;
            }
            missing = later;
        }
        Some(())
    }

    /// Gives the grantor of an edge the grant option, from the owner.
    fn lend(&mut self, edge: Edge<'a>) -> Option<()> {
        let option = Edge {
            grantor: self.state.owner?,
            grantee: edge.grantor,
            privilege: edge.privilege,
        };
        if self.state.edges.get(&option) == Some(&true) {
            return None;
        }
        self.grant(option, true);
        self.lent.push(option);
        Some(())
    }

    fn grant(&mut self, edge: Edge<'a>, option: bool) {
        self.state.set(edge, Some(option));
        self.steps.push(Step {
            edge,
            verb: Verb::Grant { option },
        });
    }

    fn revoke(&mut self, edge: Edge<'a>, option_only: bool) {
        let is_option = self.state.edges.get(&edge) == Some(&true);
        let cascade = self.state.revoke(edge, option_only) || (self.has_columns && is_option);
        self.steps.push(Step {
            edge,
            verb: Verb::Revoke {
                option_only,
                cascade,
            },
        });
    }
}
