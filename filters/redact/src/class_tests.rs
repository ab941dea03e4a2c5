use super::*;

/// The parts of a whole text that a class takes.
fn found(class: Class, text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        match class.recognise(before, &bytes[at..], Ending::Final) {
            Outcome::Match(length) => {
                parts.push(&text[at..at + length]);
                at += length;
            }
            Outcome::No => at += 1,
            Outcome::More => panic!("asks for more at the end of {text}"),
        }
    }
    parts
}

#[test]
fn card_numbers_pass_their_check() {
    let cards = |text| found(Class::CardNumber, text);
    assert_eq!(cards("card 4111111111111111."), ["4111111111111111"]);
    assert_eq!(cards("\"5500-0055-5555-5559\""), ["5500-0055-5555-5559"]);
    assert_eq!(cards("3782 822463 10005"), ["3782 822463 10005"]);
    assert_eq!(cards("4111111111111112"), [""; 0]);
    assert_eq!(cards("1234567890123456"), [""; 0]);
    assert_eq!(cards("4111 1111"), [""; 0]);
    assert_eq!(cards("4111  1111 1111 1111"), [""; 0], "two spaces");
}

#[test]
fn card_numbers_end_where_their_digits_end() {
    let cards = |text| found(Class::CardNumber, text);
    assert_eq!(cards("41111111111111119999999"), [""; 0], "part of a longer number");
    assert_eq!(cards("4111 1111 1111 1111 2027"), ["4111 1111 1111 1111"], "a year follows");
    assert_eq!(cards("12-4111111111111111-4"), ["4111111111111111"]);
    assert_eq!(cards("4111111111111111 5500005555555559"), ["4111111111111111", "5500005555555559"]);
}

#[test]
fn emails_have_a_dotted_domain() {
    let emails = |text| found(Class::Email, text);
    assert_eq!(emails("mail jo.e+x@shop.example.com."), ["jo.e+x@shop.example.com"]);
    assert_eq!(emails("<a@b.co>,c_d@e-f.org;"), ["a@b.co", "c_d@e-f.org"]);
    assert_eq!(emails("{\"to\":\"x@y.net\"}"), ["x@y.net"]);
    assert_eq!(emails("user@localhost a@b.c a@.com @b.com a@-b.com a@b..com a@1.2"), [""; 0]);
    assert_eq!(emails("a@b.com.5x"), ["a@b.com"]);
    assert_eq!(emails("a@b.com-"), [""; 0]);
}

#[test]
fn emails_have_a_short_local_part() {
    let long = "x".repeat(64) + "@y.org";
    assert_eq!(found(Class::Email, &long), [long.as_str()]);
    let longer = "x".repeat(65) + "@y.org";
    assert_eq!(found(Class::Email, &longer), [""; 0]);
    let domain = format!("a@{}", "b.cd.".repeat(100));
    assert_eq!(found(Class::Email, &domain)[0].len(), 2 + "b.cd.".len() * 50 + "b.cd".len());
}

#[test]
fn ibans_pass_their_check() {
    let ibans = |text| found(Class::Iban, text);
    assert_eq!(ibans("to DE89370400440532013000, please"), ["DE89370400440532013000"]);
    assert_eq!(ibans("GB82 WEST 1234 5698 7654 32 and more"), ["GB82 WEST 1234 5698 7654 32"]);
    assert_eq!(ibans("DE88370400440532013000"), [""; 0]);
    assert_eq!(ibans("xDE89370400440532013000"), [""; 0]);
    assert_eq!(ibans("DE893704004405320130001"), [""; 0]);
}

#[test]
fn social_security_numbers_are_ones_that_are_issued() {
    let numbers = |text| found(Class::UsSsn, text);
    assert_eq!(numbers("ssn=123-45-6789;"), ["123-45-6789"]);
    for wrong in [
        "000-12-3456",
        "666-12-3456",
        "912-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123-45-67890",
        "1123-45-6789",
        "123-45-6789-1",
    ] {
        assert_eq!(numbers(wrong), [""; 0], "{wrong}");
    }
}

#[test]
fn more_is_asked_for_within_the_span_only() {
    let longest = [
        (Class::CardNumber, "4 ".repeat(60)),
        (Class::Email, "a".repeat(64) + "@" + &"b.".repeat(300)),
        (Class::Iban, format!("GB82 {}", "A ".repeat(60))),
        (Class::UsSsn, "123-45-6789".to_owned() + "000000"),
    ];
    for (class, text) in longest {
        let bytes = text.as_bytes();
        for length in class.span()..bytes.len() {
            let outcome = class.recognise(None, &bytes[..length], Ending::Open);
            assert_ne!(outcome, Outcome::More, "{class:?} with {length} bytes");
        }
    }
}

#[test]
fn a_decision_on_part_of_the_text_is_the_decision_on_the_whole() {
    let texts = [
        (Class::CardNumber, "4111 1111 1111 1111 2027 x"),
        (Class::Email, "jo@shop.example.com. x"),
        (Class::Iban, "GB82 WEST 1234 5698 7654 32 AND x"),
        (Class::UsSsn, "123-45-6789 x"),
    ];
    for (class, text) in texts {
        let whole = class.recognise(None, text.as_bytes(), Ending::Final);
        assert!(matches!(whole, Outcome::Match(_)));
        for length in 1..=text.len() {
            let part = class.recognise(None, &text.as_bytes()[..length], Ending::Open);
            assert!(part == Outcome::More || part == whole, "{class:?} at {length}: {part:?}");
        }
    }
}
