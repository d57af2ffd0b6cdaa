//! A class named on the command line.

use anyhow::Result;
use fgmf::Error;

/// The class that a text names, by the model's own name for it (small letters will do) or by its
/// number. A name that is also the number of another class is refused.
pub(super) fn class_of(text: &str, names: Option<&[String]>, classes: usize) -> Result<usize> {
    let number = text.parse().ok().filter(|&class: &usize| class < classes);
    let names = names.unwrap_or_default();
    let exact = names.iter().position(|name| name == text);
    let similar = || {
        let lower = text.to_lowercase();
        names.iter().position(|name| name.to_lowercase() == lower)
    };
    match (exact.or_else(similar), number) {
        (Some(a), Some(b)) if a != b => {
            let expected = format!("a name or a number of one class, not of {a} and of {b}");
            Err(Error::parameter("class", expected, text).into())
        }
        (Some(class), _) | (None, Some(class)) => Ok(class),
        (None, None) => {
            let mut expected = format!("a number below {classes}");
            if !names.is_empty() {
                expected += &format!(", or one of {}", names.join(", "));
            }
            Err(Error::parameter("class", expected, text).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_name_or_a_number() {
        let names = ["Ankle boot", "Bag", "3", "bag"].map(str::to_owned);
        let of = |text: &str| class_of(text, Some(&names), 4).map_err(|e| e.to_string());
        assert_eq!(of("Ankle boot"), Ok(0));
        assert_eq!(of("ankle BOOT"), Ok(0));
        assert_eq!([of("Bag"), of("bag"), of("1")], [Ok(1), Ok(3), Ok(1)]);
        assert!(of("3").unwrap_err().contains("of 2 and of 3"));
        let message = of("Shirt").unwrap_err();
        assert!(
            message.contains("below 4, or one of Ankle boot, Bag") && message.contains("Shirt"),
            "{message}"
        );
        assert_eq!(class_of("3", None, 4).ok(), Some(3));
        assert!(class_of("4", None, 4).is_err() && class_of("-1", None, 4).is_err());
    }
}
