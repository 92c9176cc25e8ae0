//! Object identifiers: numbers for the names that every SNMP program knows, and names for the
//! numbers. Not a MIB compiler: only what traps of the standard MIBs carry.

/// Objects that a trap may carry or be, by number, without the instance at the end.
/// From SNMPv2-MIB (RFC 3418), IF-MIB (RFC 2863), SNMP-COMMUNITY-MIB (RFC 3584), OSPF-MIB (RFC 4750),
/// BGP4-MIB (RFC 4273), RMON-MIB (RFC 2819), BRIDGE-MIB (RFC 4188), HOST-RESOURCES-MIB (RFC 2790),
/// UPS-MIB (RFC 1628), Printer-MIB (RFC 3805), ENTITY-MIB (RFC 6933), DISMAN-EVENT-MIB (RFC 2981)
/// and NET-SNMP-AGENT-MIB.
const OBJECTS: &[(&str, &str)] = &[
    ("sysDescr", "1.3.6.1.2.1.1.1"),
    ("sysObjectID", "1.3.6.1.2.1.1.2"),
    ("sysUpTime", "1.3.6.1.2.1.1.3"),
    ("sysContact", "1.3.6.1.2.1.1.4"),
    ("sysName", "1.3.6.1.2.1.1.5"),
    ("sysLocation", "1.3.6.1.2.1.1.6"),
    ("ifIndex", "1.3.6.1.2.1.2.2.1.1"),
    ("ifDescr", "1.3.6.1.2.1.2.2.1.2"),
    ("ifType", "1.3.6.1.2.1.2.2.1.3"),
    ("ifMtu", "1.3.6.1.2.1.2.2.1.4"),
    ("ifSpeed", "1.3.6.1.2.1.2.2.1.5"),
    ("ifPhysAddress", "1.3.6.1.2.1.2.2.1.6"),
    ("ifAdminStatus", "1.3.6.1.2.1.2.2.1.7"),
    ("ifOperStatus", "1.3.6.1.2.1.2.2.1.8"),
    ("ifLastChange", "1.3.6.1.2.1.2.2.1.9"),
    ("ospfRouterId", "1.3.6.1.2.1.14.1.1"),
    ("ospfIfIpAddress", "1.3.6.1.2.1.14.7.1.1"),
    ("ospfAddressLessIf", "1.3.6.1.2.1.14.7.1.2"),
    ("ospfIfState", "1.3.6.1.2.1.14.7.1.12"),
    ("ospfNbrIpAddr", "1.3.6.1.2.1.14.10.1.1"),
    ("ospfNbrAddressLessIndex", "1.3.6.1.2.1.14.10.1.2"),
    ("ospfNbrRtrId", "1.3.6.1.2.1.14.10.1.3"),
    ("ospfNbrState", "1.3.6.1.2.1.14.10.1.6"),
    ("ospfVirtIfStateChange", "1.3.6.1.2.1.14.16.2.1"),
    ("ospfNbrStateChange", "1.3.6.1.2.1.14.16.2.2"),
    ("ospfVirtNbrStateChange", "1.3.6.1.2.1.14.16.2.3"),
    ("ospfIfConfigError", "1.3.6.1.2.1.14.16.2.4"),
    ("ospfIfStateChange", "1.3.6.1.2.1.14.16.2.16"),
    ("bgpEstablishedNotification", "1.3.6.1.2.1.15.0.1"),
    ("bgpBackwardTransNotification", "1.3.6.1.2.1.15.0.2"),
    ("bgpPeerState", "1.3.6.1.2.1.15.3.1.2"),
    ("bgpPeerRemoteAddr", "1.3.6.1.2.1.15.3.1.7"),
    ("bgpPeerLastError", "1.3.6.1.2.1.15.3.1.14"),
    ("bgpEstablished", "1.3.6.1.2.1.15.7.1"),
    ("bgpBackwardTransition", "1.3.6.1.2.1.15.7.2"),
    ("risingAlarm", "1.3.6.1.2.1.16.0.1"),
    ("fallingAlarm", "1.3.6.1.2.1.16.0.2"),
    ("alarmIndex", "1.3.6.1.2.1.16.3.1.1.1"),
    ("alarmVariable", "1.3.6.1.2.1.16.3.1.1.3"),
    ("alarmSampleType", "1.3.6.1.2.1.16.3.1.1.4"),
    ("alarmValue", "1.3.6.1.2.1.16.3.1.1.5"),
    ("alarmRisingThreshold", "1.3.6.1.2.1.16.3.1.1.7"),
    ("alarmFallingThreshold", "1.3.6.1.2.1.16.3.1.1.8"),
    ("newRoot", "1.3.6.1.2.1.17.0.1"),
    ("topologyChange", "1.3.6.1.2.1.17.0.2"),
    ("hrSystemUptime", "1.3.6.1.2.1.25.1.1"),
    ("ifName", "1.3.6.1.2.1.31.1.1.1.1"),
    ("ifHighSpeed", "1.3.6.1.2.1.31.1.1.1.15"),
    ("ifAlias", "1.3.6.1.2.1.31.1.1.1.18"),
    ("upsSecondsOnBattery", "1.3.6.1.2.1.33.1.2.2"),
    ("upsEstimatedMinutesRemaining", "1.3.6.1.2.1.33.1.2.3"),
    ("upsAlarmId", "1.3.6.1.2.1.33.1.6.2.1.1"),
    ("upsAlarmDescr", "1.3.6.1.2.1.33.1.6.2.1.2"),
    ("upsConfigLowBattTime", "1.3.6.1.2.1.33.1.9.7"),
    ("upsTrapOnBattery", "1.3.6.1.2.1.33.2.1"),
    ("upsTrapTestCompleted", "1.3.6.1.2.1.33.2.2"),
    ("upsTrapAlarmEntryAdded", "1.3.6.1.2.1.33.2.3"),
    ("upsTrapAlarmEntryRemoved", "1.3.6.1.2.1.33.2.4"),
    ("prtAlertSeverityLevel", "1.3.6.1.2.1.43.18.1.1.2"),
    ("prtAlertGroup", "1.3.6.1.2.1.43.18.1.1.4"),
    ("prtAlertCode", "1.3.6.1.2.1.43.18.1.1.7"),
    ("prtAlertDescription", "1.3.6.1.2.1.43.18.1.1.8"),
    ("printerV2Alert", "1.3.6.1.2.1.43.18.2.0.1"),
    ("entPhysicalDescr", "1.3.6.1.2.1.47.1.1.1.1.2"),
    ("entPhysicalName", "1.3.6.1.2.1.47.1.1.1.1.7"),
    ("entConfigChange", "1.3.6.1.2.1.47.2.0.1"),
    ("mteTriggerFired", "1.3.6.1.2.1.88.2.0.1"),
    ("mteTriggerRising", "1.3.6.1.2.1.88.2.0.2"),
    ("mteTriggerFalling", "1.3.6.1.2.1.88.2.0.3"),
    ("mteTriggerFailure", "1.3.6.1.2.1.88.2.0.4"),
    ("mteHotTrigger", "1.3.6.1.2.1.88.2.1.1"),
    ("mteHotTargetName", "1.3.6.1.2.1.88.2.1.2"),
    ("mteHotContextName", "1.3.6.1.2.1.88.2.1.3"),
    ("mteHotOID", "1.3.6.1.2.1.88.2.1.4"),
    ("mteHotValue", "1.3.6.1.2.1.88.2.1.5"),
    ("mteFailedReason", "1.3.6.1.2.1.88.2.1.6"),
    ("nsNotifyStart", "1.3.6.1.4.1.8072.4.0.1"),
    ("nsNotifyShutdown", "1.3.6.1.4.1.8072.4.0.2"),
    ("nsNotifyRestart", "1.3.6.1.4.1.8072.4.0.3"),
    ("snmpTrapOID", "1.3.6.1.6.3.1.1.4.1"),
    ("snmpTrapEnterprise", "1.3.6.1.6.3.1.1.4.3"),
    ("coldStart", "1.3.6.1.6.3.1.1.5.1"),
    ("warmStart", "1.3.6.1.6.3.1.1.5.2"),
    ("linkDown", "1.3.6.1.6.3.1.1.5.3"),
    ("linkUp", "1.3.6.1.6.3.1.1.5.4"),
    ("authenticationFailure", "1.3.6.1.6.3.1.1.5.5"),
    ("egpNeighborLoss", "1.3.6.1.6.3.1.1.5.6"),
    ("snmpTrapAddress", "1.3.6.1.6.3.18.1.3"),
    ("snmpTrapCommunity", "1.3.6.1.6.3.18.1.4"),
];

/// Branches of the tree; they make numbers of names but never name anything by themselves.
const BRANCHES: &[(&str, &str)] = &[
    ("ccitt", "0"),
    ("iso", "1"),
    ("joint-iso-ccitt", "2"),
    ("org", "1.3"),
    ("dod", "1.3.6"),
    ("internet", "1.3.6.1"),
    ("directory", "1.3.6.1.1"),
    ("mgmt", "1.3.6.1.2"),
    ("mib-2", "1.3.6.1.2.1"),
    ("system", "1.3.6.1.2.1.1"),
    ("interfaces", "1.3.6.1.2.1.2"),
    ("ifTable", "1.3.6.1.2.1.2.2"),
    ("ifEntry", "1.3.6.1.2.1.2.2.1"),
    ("transmission", "1.3.6.1.2.1.10"),
    ("host", "1.3.6.1.2.1.25"),
    ("experimental", "1.3.6.1.3"),
    ("private", "1.3.6.1.4"),
    ("enterprises", "1.3.6.1.4.1"),
    ("security", "1.3.6.1.5"),
    ("snmpV2", "1.3.6.1.6"),
    ("snmpModules", "1.3.6.1.6.3"),
    ("snmpMIB", "1.3.6.1.6.3.1"),
    ("snmpMIBObjects", "1.3.6.1.6.3.1.1"),
    ("snmpTrap", "1.3.6.1.6.3.1.1.4"),
    ("snmpTraps", "1.3.6.1.6.3.1.1.5"),
    ("netSnmp", "1.3.6.1.4.1.8072"),
    ("sysUpTimeInstance", "1.3.6.1.2.1.1.3.0"),
];

/// An object identifier as a program wrote it: `iso.3.6.1`, `.1.3.6.1`, `IF-MIB::ifIndex.2`,
/// `.iso.org.dod.internet…`, `ifIndex.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oid {
    /// In numbers without a leading dot, where that can be known; else as it was written.
    pub number: String,
    /// The object's name without its instance, where it is known.
    pub name: Option<String>,
}

impl Oid {
    /// Reads `text`; `None` if it cannot be an object identifier.
    pub fn read(text: &str) -> Option<Oid> {
        let path = text.rsplit_once("::").map_or(text, |(_, path)| path);
        let path = path.strip_prefix('.').unwrap_or(path);
        if !path.starts_with(|char: char| char.is_ascii_alphanumeric()) {
            return None;
        }
        let (number, named) = numbers(path);
        let known = number.as_deref().and_then(name).map(str::to_owned);
        Some(Oid {
            name: known.or(named),
            number: number.unwrap_or_else(|| text.to_owned()),
        })
    }

    /// An identifier from its numbers, as it comes over the wire.
    pub fn from_number(number: &str) -> Oid {
        Oid {
            number: number.to_owned(),
            name: name(number).map(str::to_owned),
        }
    }
}

/// True if `text` is written as only an object identifier is: with a module, or as numbers or
/// known names with dots between them.
pub fn is_plainly_oid(text: &str) -> bool {
    if let Some((module, path)) = text.split_once("::") {
        return is_word(module) && !path.is_empty();
    }
    let path = text.strip_prefix('.').unwrap_or(text);
    let mut arcs = path.split('.');
    let first = arcs.next().unwrap_or("");
    let count = arcs.clone().count();
    let is_tail = arcs.all(|arc| is_arc(arc) || number_of(arc).is_some());
    // one digit with a dot is a number, three dots may be an address
    let is_numeric = matches!(first, "0" | "1" | "2") && count > 2;
    is_tail && (is_numeric || number_of(first).is_some())
}

/// True if `text` looks like an object that only a MIB knows, with its instance: `ifIndex.2`.
pub fn is_instance(text: &str) -> bool {
    text.split_once('.').is_some_and(|(name, instance)| {
        is_word(name) && !is_arc(name) && instance.split('.').all(is_arc)
    })
}

fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

/// The name of the object whose number `number` is, or begins with.
pub fn name(number: &str) -> Option<&'static str> {
    let holds = |object: &str| {
        let rest = number.strip_prefix(object);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    OBJECTS
        .iter()
        .find(|(_, object)| holds(object))
        .map(|(name, _)| *name)
}

/// The number of an object or a branch that is known by this name.
pub fn number_of(name: &str) -> Option<&'static str> {
    let known = OBJECTS.iter().chain(BRANCHES);
    known
        .clone()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

fn is_arc(arc: &str) -> bool {
    !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number of a dotted path, from its last known name on, and the last name in it.
fn numbers(path: &str) -> (Option<String>, Option<String>) {
    let arcs: Vec<&str> = path.split('.').collect();
    let last = arcs.iter().rposition(|arc| !is_arc(arc));
    let Some(last) = last else {
        return (Some(path.to_owned()), None);
    };
    let named = arcs[last];
    let number = number_of(named).map(|root| {
        let tail = arcs[last + 1..].iter();
        tail.fold(root.to_owned(), |path, arc| format!("{path}.{arc}"))
    });
    let is_branch = BRANCHES.iter().any(|(name, _)| *name == named);
    let is_word = named.starts_with(|char: char| char.is_ascii_alphabetic());
    let named = (is_word && !is_branch).then(|| named.to_owned());
    (number, named)
}
