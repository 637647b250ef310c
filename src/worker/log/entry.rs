//! Entries of the journal on their way to the thread that sends them: fields side by side in one run of bytes, each
//! with its length before it. Pure; it never leaves this process.

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

/// Adds an entry, whose fields `fields` adds.
pub(super) fn push(out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    fields(out);
    let bytes = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&bytes.to_le_bytes());
}

/// Adds a field of the parts, one behind the other.
pub(super) fn push_field(out: &mut Vec<u8>, parts: &[&str]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// Each entry: its bytes in all, and its fields.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<&str>)> {
    counted(bytes).map(|entry| {
        let fields = counted(entry).map(|field| std::str::from_utf8(field).expect("fields are made of text"));
        (entry.len() + LENGTH_BYTES, fields.collect())
    })
}

/// What lies behind each length.
fn counted(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let (body, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bytes = rest;
        Some(body)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_with_their_fields() {
        let mut bytes = Vec::new();
        push(&mut bytes, |out| {
            push_field(out, &["MESSAGE=", "a\nb"]);
            push_field(out, &["PRIORITY=6"]);
        });
        let first = bytes.len();
        push(&mut bytes, |out| push_field(out, &["MESSAGE="]));
        let found: Vec<_> = entries(&bytes).collect();
        assert_eq!(found, [(first, vec!["MESSAGE=a\nb", "PRIORITY=6"]), (bytes.len() - first, vec!["MESSAGE="])]);
    }
}
