//! A row of the list.

use crate::remedy::Remedy;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ok,
    /// Nothing to do, but good to know.
    Note,
    /// It works, but.
    Warning,
    /// It does not work without.
    Missing,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Warning => "warning",
            State::Missing => "missing",
        }
    }

    /// `None` for a state of a newer version.
    pub fn from_name(name: &str) -> Option<State> {
        let all = [State::Ok, State::Note, State::Warning, State::Missing];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// What kind of error it is that something is missing: each has a SQLSTATE where it is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 55000
    Prerequisite,
    /// 53400
    Limit,
    /// 42710
    Duplicate,
    /// 58P01
    File,
    /// F0000
    Configuration,
    /// 25006
    ReadOnly,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub state: State,
    /// What is there.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<Remedy>,
    /// Whether that needs a restart of the server.
    pub needs_restart: bool,
    /// As an error says it: lower case, without full stop.
    pub message: String,
    pub class: Class,
}

impl Row {
    pub fn ok(name: &'static str, found: impl Into<String>) -> Row {
        let found = found.into();
        Row {
            name,
            state: State::Ok,
            message: format!("{name}: {found}"),
            found,
            remedy: None,
            needs_restart: false,
            class: Class::Prerequisite,
        }
    }

    pub fn note(name: &'static str, found: impl Into<String>) -> Row {
        Row {
            state: State::Note,
            ..Row::ok(name, found)
        }
    }

    pub fn warning(name: &'static str, found: impl Into<String>, remedy: Remedy) -> Row {
        Row {
            state: State::Warning,
            needs_restart: remedy.needs_restart(),
            remedy: Some(remedy),
            ..Row::ok(name, found)
        }
    }

    pub fn missing(name: &'static str, found: impl Into<String>, remedy: Remedy) -> Row {
        Row {
            state: State::Missing,
            ..Row::warning(name, found, remedy)
        }
    }

    /// The error's message and kind, where they are not name and finding.
    pub fn as_error(self, class: Class, message: impl Into<String>) -> Row {
        Row {
            class,
            message: message.into(),
            ..self
        }
    }

    /// What to write or to do, as one text.
    pub fn todo(&self) -> Option<String> {
        self.remedy.as_ref().map(Remedy::as_text)
    }
}
