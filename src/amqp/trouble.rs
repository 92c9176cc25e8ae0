//! Why a conversation with a broker came to nothing, and whether trying again may help.

use std::io;

use amq_protocol::protocol::{channel, connection};

use super::FrameError;

/// Reply codes that stay until somebody changes an account, a virtual host or a queue:
/// access-refused, not-found, resource-locked, precondition-failed, not-allowed, not-implemented.
const LASTING: [u16; 6] = [403, 404, 405, 406, 530, 540];
/// Reply codes about who we are and what we may: access-refused, not-allowed.
const REFUSING: [u16; 2] = [403, 530];

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The broker closed the channel or the connection, with its code and its words.
    #[error("{text} (code {code})")]
    Closed {
        /// AMQP's reply code.
        code: u16,
        /// The broker's own words.
        text: String,
    },
    /// No way to log in that both ends know.
    #[error("the broker takes {offered} to log in, not {wanted}")]
    NoMechanism {
        /// Ours.
        wanted: &'static str,
        /// Theirs.
        offered: String,
    },
    /// The broker did not take the message.
    #[error("the broker could not keep the message")]
    Nacked,
    /// The broker said something that does not belong here.
    #[error("the broker answered {0}, which does not belong there")]
    Unexpected(String),
    /// What came is no AMQP.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The network, or TLS.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The broker takes no messages at present and said why.
    #[error("the broker is blocked: {0}")]
    Blocked(String),
    /// No answer in time.
    #[error("no answer from the broker in time")]
    Late,
    /// It cannot even be tried.
    #[error("{0}")]
    Unusable(String),
}

impl Trouble {
    /// The code of a refusal that concerns us: wrong account, no rights, unknown virtual host.
    pub fn refusal(&self) -> Option<u16> {
        match self {
            Trouble::Closed { code, .. } if REFUSING.contains(code) => Some(*code),
            _ => None,
        }
    }

    /// True if trying again soon may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Trouble::Closed { code, .. } => !LASTING.contains(code),
            // A handshake that fails for a certificate comes as this kind of i/o error.
            Trouble::Network(why) => why.kind() != io::ErrorKind::InvalidData,
            Trouble::Nacked | Trouble::Blocked(_) | Trouble::Late => true,
            Trouble::NoMechanism { .. } | Trouble::Unusable(_) => false,
            Trouble::Frame(_) | Trouble::Unexpected(_) => false,
        }
    }
}

impl From<connection::Close> for Trouble {
    fn from(close: connection::Close) -> Trouble {
        Trouble::Closed {
            code: close.reply_code,
            text: close.reply_text.to_string(),
        }
    }
}

impl From<channel::Close> for Trouble {
    fn from(close: channel::Close) -> Trouble {
        Trouble::Closed {
            code: close.reply_code,
            text: close.reply_text.to_string(),
        }
    }
}
