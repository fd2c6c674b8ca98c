//! Mutates a JSON document with broken, missing, duplicate or unusual values.
//!
//! The seed can be given to repeat a run.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use embrun::json::value::Json;

/// xorshift64*, random enough for tests.
pub struct Random(u64);

impl Random {
    /// Takes the seed from `EMBRUN_SEED` or the clock; a failing test prints it.
    pub fn new() -> Random {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed =
            env::var("EMBRUN_SEED").map_or_else(|_| clock(), |s| s.parse().expect("EMBRUN_SEED is a number"));
        println!("EMBRUN_SEED={seed}");
        Random(seed | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// Changes one value somewhere in the document.
pub fn mutate(root: &mut Json, random: &mut Random) {
    let count = count(root);
    let chosen = pick(root, &mut random.below(count)).expect("a value in range");
    match (random.below(6), &mut *chosen) {
        (0, Json::Object(members)) if !members.is_empty() => {
            drop(members.remove(random.below(members.len())))
        }
        (1, Json::Object(members)) if !members.is_empty() => {
            let i = random.below(members.len());
            members[i].0 = strange_text(random).leak();
        }
        (0, Json::List(items)) if !items.is_empty() => drop(items.remove(random.below(items.len()))),
        (1 | 2, Json::List(items)) if !items.is_empty() => {
            let copy = items[random.below(items.len())].clone();
            items.push(copy);
        }
        (0 | 1, Json::Str(s)) => *s = (s.to_owned() + &strange_text(random)).leak(),
        (0 | 1, Json::Number(n)) if n.parse::<i128>().is_ok() => {
            *chosen = Json::digits(n.parse::<i128>().unwrap() + random.below(5) as i128 - 2);
        }
        _ => *chosen = strange(random),
    }
}

fn strange(random: &mut Random) -> Json {
    match random.below(8) {
        0 => Json::Null,
        1 => Json::Bool(random.below(2) == 0),
        2 => Json::digits("1.5"),
        3 => Json::List(vec![strange_number(random)]),
        4 => Json::List(vec![]),
        5 => Json::object([(&*strange_text(random).leak(), strange_number(random))]),
        6 => Json::str(strange_text(random)),
        _ => strange_number(random),
    }
}

fn strange_number(random: &mut Random) -> Json {
    const NUMBERS: [i128; 10] =
        [0, 1, -1, 8, 4095, 1 << 31, u32::MAX as i128, 1 << 32, i64::MIN as i128, u64::MAX as i128];
    Json::digits(NUMBERS[random.below(NUMBERS.len())])
}

fn strange_text(random: &mut Random) -> String {
    const TEXTS: [&str; 9] = ["", "\0", "a\nb", "/", "..", "=", "é\u{202e}", "type", "[0]"];
    TEXTS[random.below(TEXTS.len())].to_owned()
}

fn count(v: &Json) -> usize {
    1 + match v {
        Json::List(items) => items.iter().map(count).sum(),
        Json::Object(members) => members.iter().map(|(_, v)| count(v)).sum(),
        _ => 0,
    }
}

/// The value `left` places after this one in document order.
fn pick<'a>(v: &'a mut Json, left: &mut usize) -> Option<&'a mut Json> {
    if *left == 0 {
        return Some(v);
    }
    *left -= 1;
    match v {
        Json::List(items) => items.iter_mut().find_map(|item| pick(item, left)),
        Json::Object(members) => members.iter_mut().find_map(|(_, item)| pick(item, left)),
        _ => None,
    }
}
