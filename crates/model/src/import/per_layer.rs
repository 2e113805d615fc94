//! `per_layer_config`: the keys that single layers have of their own.
//!
//! A file is read once for every set of such keys, with them in place of the common ones, and each layer is taken from the
//! reading that its own keys made.

use super::decoder::{Decoder, Frame};
use super::family::Reader;
use super::keys::{Keys, Read};
use serde_json::{Map, Value};

const KEY: &str = "per_layer_config";

/// Reads the decoder of a file; `keys` are those of `config`.
pub(super) fn read(
    reader: &Reader,
    keys: &Keys,
    (origin, prefix): (&str, &str),
    config: &Map<String, Value>,
) -> Read<Decoder> {
    let frame = Frame::read(keys)?;
    let mut decoder = reader.read(keys, frame)?;
    for (own, layers) in sets(keys, frame)? {
        let mut merged = config.clone();
        merged.remove(KEY);
        merged.extend(own.clone());
        let theirs = Keys::new(origin, prefix, &merged);
        let common = merged.keys().filter(|name| !own.contains_key(*name));
        common.for_each(|name| theirs.ignore(name));
        let other = reader.read(&theirs, Frame { layers: frame.layers, ..Frame::read(&theirs)? })?;
        theirs.finish(&[])?;
        for layer in layers {
            match (decoder.layers.get_mut(layer), other.layers.get(layer)) {
                (Some(mine), Some(theirs)) => mine.clone_from(theirs),
                _ => {
                    return Err(
                        keys.inconsistent(KEY, format!("there is no layer {layer}; correct the value"))
                    );
                }
            }
        }
    }
    Ok(decoder)
}

/// Every set of keys that layers have of their own, with these layers.
fn sets<'a>(keys: &Keys<'a>, frame: Frame) -> Read<Vec<(&'a Map<String, Value>, Vec<usize>)>> {
    let mut sets: Vec<(&Map<String, Value>, Vec<usize>)> = Vec::new();
    let Some(value) = keys.value(KEY)? else { return Ok(sets) };
    let Value::Object(layers) = value else {
        return Err(keys.wrong_type(KEY, "an object of layers", value));
    };
    for (layer, own) in layers {
        let index = layer.parse::<usize>().ok().filter(|index| *index < frame.layers as usize);
        let (Some(index), Value::Object(own)) = (index, own) else {
            let expected = format!("objects under the numbers of layers, 0 to {}", frame.layers - 1);
            return Err(keys.unknown(KEY, layer, &expected));
        };
        match sets.iter_mut().find(|(other, _)| *other == own) {
            Some((_, layers)) => layers.push(index),
            None => sets.push((own, vec![index])),
        }
    }
    Ok(sets)
}
