//! The way from one list of privileges to another.
//!
//! A list is a graph for each privilege: whoever grants is the owner, or has the option by an entry from
//! somebody else. What a statement does to it is known here as the server does it (aclupdate,
//! recursive_revoke and check_circularity of utils/adt/acl.c), so that only what differs is said, and so that
//! a REVOKE which takes more than it says is followed by the GRANTs that give it back. Where the end is not
//! the wanted list, there is no wording.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Acl, Grant};
use crate::script::Revoked;

/// Who gave whom what.
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

/// One privilege more or less.
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

/// A list as the server holds it.
#[derive(Clone)]
struct State<'a> {
    owner: Option<&'a str>,
    /// Edges, and whether the grantee may grant it, too.
    edges: BTreeMap<Edge<'a>, bool>,
    /// How many edges give a role the option of a privilege.
    options: HashMap<(&'a str, &'a str), usize>,
    /// Options that roles must have without an edge, or what they granted would not be there: by being
    /// members of others, or on a column by what they have on its table.
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

    /// What its own session grants, it grants itself (select_best_grantor).
    fn is_grantor(&self, role: &'a str, privilege: &'a str) -> bool {
        self.owner == Some(role)
            || self.options.get(&(role, privilege)).is_some_and(|n| *n > 0)
            || (self.owner.is_none() && self.inherited.contains(&(role, privilege)))
    }

    fn has_option(&self, role: &'a str, privilege: &'a str) -> bool {
        self.is_grantor(role, privilege) || self.inherited.contains(&(role, privilege))
    }

    /// REVOKE, with what goes by it: true where that needs CASCADE.
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

    /// Whether the server takes GRANT (check_circularity).
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

/// The way from one list to another.
pub(super) struct Change<'a> {
    state: State<'a>,
    wanted: BTreeMap<Edge<'a>, bool>,
    /// The wanted ones in the catalog's order.
    order: Vec<Edge<'a>>,
    steps: Vec<Step<'a>>,
    /// A REVOKE goes down to columns, where more can rest on an option.
    pub(super) has_columns: bool,
    /// Options that the owner lends to grantors that have none, or only by those to whom they grant.
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
            // Nobody grants the option back to itself (check_circularity) who does not have it otherwise.
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

    /// What the table's REVOKEs have taken from this column.
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

    /// What is too much: the owner's first, since what rests on it goes by itself.
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

    /// The option of an edge's grantor, from the owner.
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
