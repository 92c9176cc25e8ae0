//! An event as a row: a head that is always in the tree, and the body, which may lie beside it.
//!
//! Invariant: the body is encoded alone, so that equal bodies share one file; when an event was
//! received, and the key of its message id, can be read without that file.

use bytes::Bytes;
use jiff::Timestamp;

use super::codec::{CODEC_VERSION, CodecError, Reader, Writer, check_version};
use crate::event::{Event, EventId, Incoming, Meta};

/// Longest head; a longer meta goes with the body.
pub(super) const HEAD_BYTES_MAX: usize = 1024;
/// Room for a usual body, in bytes.
const ROOM_BYTES: usize = 512;
const MESSAGE_BYTES: usize = 32;
const HAS_MESSAGE: u8 = 1;
const META_WITH_BODY: u8 = 2;

/// The head and the content of the row of `event`; `message` is the key of its message id.
pub(super) fn encode(
    event: &Incoming,
    message: Option<&[u8]>,
) -> Result<(Vec<u8>, Vec<u8>), CodecError> {
    let meta = encode_meta(&event.meta)?;
    let with_body = meta.len() + MESSAGE_BYTES + 16 > HEAD_BYTES_MAX;
    let flags = u8::from(message.is_some()) * HAS_MESSAGE + u8::from(with_body) * META_WITH_BODY;
    let mut head = Writer::with_room(meta.len() + MESSAGE_BYTES + 16);
    head.raw(&event.meta.received_at.as_millisecond().to_be_bytes());
    head.byte(flags);
    if let Some(hash) = message.and_then(|key| key.last_chunk::<MESSAGE_BYTES>()) {
        head.raw(hash);
    }
    let mut content = Writer::with_room(ROOM_BYTES);
    let place = if with_body { &mut content } else { &mut head };
    place.raw(&meta);
    content.byte(CODEC_VERSION).share().value(&event.body)?;
    Ok((head.into_bytes(), content.into_bytes()))
}

fn encode_meta(meta: &Meta) -> Result<Vec<u8>, CodecError> {
    let mut out = Writer::new();
    out.byte(CODEC_VERSION)
        .text(&meta.source)
        .text(&meta.peer)
        .time(meta.received_at)
        .text_or_none(meta.message_id.as_deref())
        .map(&meta.extra)?;
    Ok(out.into_bytes())
}

fn decode_meta(input: &mut Reader<'_>) -> Result<Meta, CodecError> {
    check_version(input)?;
    Ok(Meta {
        source: input.text()?.to_owned(),
        peer: input.text()?.to_owned(),
        received_at: input.time()?,
        message_id: input.text_or_none()?.map(str::to_owned),
        extra: input.map()?,
    })
}

/// What a head says without the body.
pub(super) struct Head<'a> {
    pub(super) received_at: Timestamp,
    /// The end of the key of its message id.
    pub(super) message: Option<&'a [u8]>,
    meta_with_body: bool,
    rest: Reader<'a>,
}

pub(super) fn head(bytes: &[u8]) -> Result<Head<'_>, CodecError> {
    let mut rest = Reader::new(bytes);
    let time = *rest.raw(8)?.first_chunk().ok_or(CodecError::Short)?;
    let received_at = Timestamp::from_millisecond(i64::from_be_bytes(time))
        .map_err(|_| CodecError::Wrong("a time is no time"))?;
    let flags = rest.byte()?;
    let has_message = flags & HAS_MESSAGE != 0;
    let message = has_message.then(|| rest.raw(MESSAGE_BYTES)).transpose()?;
    Ok(Head {
        received_at,
        message,
        meta_with_body: flags & META_WITH_BODY != 0,
        rest,
    })
}

/// The event whose row has this head and content.
pub(super) fn decode(id: EventId, head_bytes: &[u8], content: &Bytes) -> Result<Event, CodecError> {
    let mut head = head(head_bytes)?;
    let record = content;
    let mut content = Reader::new(record);
    let place = if head.meta_with_body {
        &mut content
    } else {
        &mut head.rest
    };
    let meta = decode_meta(place)?;
    check_version(&mut content)?;
    let body = content.share(record).value()?;
    content.end()?;
    head.rest.end()?;
    Ok(Event { id, body, meta })
}
