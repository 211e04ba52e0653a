//! Whole numbers of any size for `resty.openssl.bn`: `+` or `-`, and the bytes of the magnitude.

use mlua::{BString, Lua, Table};
use num_bigint::{BigInt, BigUint, Sign};
use ring::rand::SecureRandom as _;

use super::function;

/// The most bits of a number: an exponent from outside must not take the memory.
const BITS: u64 = 1 << 17;
/// The most bits of an operand: what takes the square of them or more must not take the time.
const OPERAND_BITS: u64 = 1 << 14;
/// The most bits of a prime, and of a safe one, which is much rarer.
const PRIME_BITS: [u64; 2] = [4096, 2048];
/// Bases to try a number with; 64 is what OpenSSL takes for large ones.
const ROUNDS: usize = 64;

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    host.set("bn", function(lua, calculate)?)?;
    host.set("bn_parse", function(lua, |(text, base): (String, u32)| parse(&text, base))?)?;
    host.set("bn_text", function(lua, |(n, base): (BString, u32)| text(&read(&n), base))?)?;
    host.set(
        "bn_compare",
        function(lua, |(a, b): (BString, BString)| read(&a).cmp(&read(&b)) as i8)?,
    )?;
    host.set("bn_is_prime", function(lua, |n: BString| is_prime(&read(&n)))?)?;
    host.set("bn_prime", function(lua, |(bits, safe): (u64, bool)| prime(bits, safe))?)
}

fn read(bytes: &[u8]) -> BigInt {
    let (sign, magnitude) = bytes.split_first().unwrap_or((&b'+', &[]));
    BigInt::from_biguint(
        if *sign == b'-' { Sign::Minus } else { Sign::Plus },
        BigUint::from_bytes_be(magnitude),
    )
}

fn write(number: &BigInt) -> BString {
    let (sign, magnitude) = number.to_bytes_be();
    let mut bytes = vec![if sign == Sign::Minus { b'-' } else { b'+' }];
    if sign != Sign::NoSign {
        bytes.extend(magnitude);
    }
    bytes.into()
}

fn parse(text: &str, base: u32) -> Option<BString> {
    // A decimal of so many digits has no more bits than a number may have.
    let short = text.len() as u64 <= BITS / 4;
    short.then(|| BigInt::parse_bytes(text.as_bytes(), base))?.as_ref().map(write)
}

/// Hexadecimals come in whole bytes, in capital letters.
fn text(number: &BigInt, base: u32) -> String {
    if base != 16 {
        return number.to_string();
    }
    let digits = number.magnitude().to_str_radix(16).to_uppercase();
    let sign = if number.sign() == Sign::Minus { "-" } else { "" };
    let pad = if digits.len() % 2 == 1 && digits != "0" { "0" } else { "" };
    format!("{sign}{pad}{digits}")
}

/// The operation, its two operands, and for some the modulus.
type Calculation = (String, BString, BString, Option<BString>);

fn calculate((operation, a, b, m): Calculation) -> Option<BString> {
    let (a, b) = (read(&a), read(&b));
    let zero = BigInt::ZERO;
    let m = m.map(|m| read(&m));
    if [Some(&a), Some(&b), m.as_ref()].into_iter().flatten().any(|n| n.bits() > OPERAND_BITS) {
        return None;
    }
    let wrap = |n: BigInt| {
        let m = m.as_ref().filter(|&m| *m != zero)?;
        let rest = n % m;
        Some(if rest < zero { rest + BigInt::from(m.magnitude().clone()) } else { rest })
    };
    let shift = || u64::try_from(&b).ok().filter(|&by| by <= BITS);
    let found: BigInt = match operation.as_str() {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" if b != zero => a / b,
        "mod" if b != zero => a % b,
        "gcd" => gcd(a, b),
        "exp" => {
            let by = u32::try_from(&b).ok()?;
            let bits = a.bits().checked_mul(u64::from(by))?;
            (bits <= BITS).then(|| a.pow(by))?
        }
        "lshift" => a << shift()?,
        "rshift" => a >> shift()?,
        "mod_add" => wrap(a + b)?,
        "mod_sub" => wrap(a - b)?,
        "mod_mul" => wrap(a * b)?,
        "mod_exp" if b >= zero => {
            let m = m.as_ref().filter(|&m| *m > zero)?;
            wrap(a)?.modpow(&b, m)
        }
        "mod_inverse" => a.modinv(m.as_ref().filter(|&m| *m != zero)?)?,
        _ => return None,
    };
    (found.bits() <= BITS).then(|| write(&found))
}

fn gcd(mut a: BigInt, mut b: BigInt) -> BigInt {
    while b != BigInt::ZERO {
        (a, b) = (b.clone(), a % b);
    }
    a.magnitude().clone().into()
}

/// Miller and Rabin's test with bases by chance.
fn is_prime(number: &BigInt) -> bool {
    let n = number.magnitude();
    let (one, two) = (BigUint::from(1u8), BigUint::from(2u8));
    if number.sign() != Sign::Plus || *n < two || n.bits() > OPERAND_BITS {
        return false;
    }
    for small in [2u8, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37] {
        let small = BigUint::from(small);
        if (n % &small) == BigUint::ZERO {
            return *n == small;
        }
    }
    let before = n - &one;
    let twos = before.trailing_zeros().unwrap_or(0);
    let odd = &before >> twos;
    (0..ROUNDS).all(|_| {
        let Some(base) = random(n.bits()) else { return false };
        let base = base % (n - &two - &one) + &two;
        let mut power = base.modpow(&odd, n);
        if power == one || power == before {
            return true;
        }
        (1..twos).any(|_| {
            power = power.modpow(&two, n);
            power == before
        })
    })
}

fn random(bits: u64) -> Option<BigUint> {
    let mut bytes = vec![0; usize::try_from(bits.div_ceil(8)).ok()?];
    ring::rand::SystemRandom::new().fill(&mut bytes).ok()?;
    Some(BigUint::from_bytes_be(&bytes))
}

/// A prime of so many bits, the two highest of them set; of a safe one, `(p - 1) / 2` is prime too.
fn prime(bits: u64, safe: bool) -> Option<BString> {
    if !(8..=PRIME_BITS[usize::from(safe)]).contains(&bits) {
        return None;
    }
    loop {
        let mut number = random(bits)? % (BigUint::from(1u8) << bits);
        for bit in [0, bits - 1, bits - 2] {
            number.set_bit(bit, true);
        }
        let number = BigInt::from(number);
        if is_prime(&number) && (!safe || is_prime(&(&number >> 1))) {
            return Some(write(&number));
        }
    }
}
