//! Socket types and who may talk with whom (RFC 28 to 31, as RFC 23 lists them).

/// A ZeroMQ socket type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SocketType {
    Pair,
    Pub,
    Sub,
    Req,
    Rep,
    Dealer,
    Router,
    Pull,
    Push,
    XPub,
    XSub,
}

/// In the order of ZMTP 2.0's numbers (RFC 15).
const ALL: [(SocketType, &str); 11] = [
    (SocketType::Pair, "PAIR"),
    (SocketType::Pub, "PUB"),
    (SocketType::Sub, "SUB"),
    (SocketType::Req, "REQ"),
    (SocketType::Rep, "REP"),
    (SocketType::Dealer, "DEALER"),
    (SocketType::Router, "ROUTER"),
    (SocketType::Pull, "PULL"),
    (SocketType::Push, "PUSH"),
    (SocketType::XPub, "XPUB"),
    (SocketType::XSub, "XSUB"),
];

impl SocketType {
    /// The type with that name, as READY's `Socket-Type` property spells it.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        ALL.iter().find(|(_, known)| known.as_bytes() == name).map(|(socket_type, _)| *socket_type)
    }

    /// The type with that number in a ZMTP 2.0 greeting.
    pub fn from_number(number: u8) -> Option<Self> {
        ALL.get(usize::from(number)).map(|(socket_type, _)| *socket_type)
    }

    /// Its name in READY.
    pub fn name(self) -> &'static str {
        ALL[usize::from(self.number())].1
    }

    /// Its number in a ZMTP 2.0 greeting.
    pub fn number(self) -> u8 {
        ALL.iter().position(|(socket_type, _)| *socket_type == self).expect("every type is listed") as u8
    }

    /// Whether a socket of this type may talk with one of `other`.
    pub fn accepts(self, other: Self) -> bool {
        use SocketType::*;
        match self {
            Pair => other == Pair,
            Pub | XPub => matches!(other, Sub | XSub),
            Sub | XSub => matches!(other, Pub | XPub),
            Req => matches!(other, Rep | Router),
            Rep => matches!(other, Req | Dealer),
            Dealer => matches!(other, Rep | Dealer | Router),
            Router => matches!(other, Req | Dealer | Router),
            Pull => other == Push,
            Push => other == Pull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_their_type() {
        for (socket_type, name) in ALL {
            assert_eq!(SocketType::from_name(name.as_bytes()), Some(socket_type));
            assert_eq!(SocketType::from_number(socket_type.number()), Some(socket_type));
            assert_eq!(socket_type.name(), name);
        }
        assert_eq!(SocketType::from_number(11), None);
        assert_eq!(SocketType::from_name(b"Router"), None);
    }

    #[test]
    fn who_accepts_whom_is_symmetric() {
        for (one, _) in ALL {
            for (other, _) in ALL {
                assert_eq!(one.accepts(other), other.accepts(one), "{one:?} and {other:?}");
            }
        }
    }
}
