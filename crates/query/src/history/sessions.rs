//! The sessions that made the transactions of a result, each once.

use std::collections::HashMap;

use super::lines::Session;

/// Each with its number, from 0.
#[derive(Debug, Default)]
pub struct Sessions {
    numbers: HashMap<Session, u32>,
}

impl Sessions {
    /// Its number, a new one if it is not known.
    pub fn number_of(&mut self, session: &Session) -> u32 {
        if let Some(number) = self.numbers.get(session) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(session.clone(), number);
        number
    }

    /// In the order of their numbers.
    pub fn in_order(self) -> Vec<Session> {
        let mut all: Vec<(Session, u32)> = self.numbers.into_iter().collect();
        all.sort_by_key(|(_, number)| *number);
        all.into_iter().map(|(session, _)| session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_number_in_the_order_of_arrival() {
        let session = |role: &str| Session {
            role: role.as_bytes().to_vec(),
            application: Vec::new(),
            client: Vec::new(),
        };
        let mut sessions = Sessions::default();
        let numbers = ["b", "a", "b", "c"].map(|role| sessions.number_of(&session(role)));
        assert_eq!(numbers, [0, 1, 0, 2]);
        assert_eq!(sessions.in_order(), ["b", "a", "c"].map(session));
    }
}
