//! Programs that are made to exhaust whoever runs them.

use super::*;
use minijinja::{context, escape_formatter};
use std::fmt::Write;
use std::time::{Duration, Instant};

fn program(source: &str) -> Result<Program, Error> {
    let mut environment = Environment::new();
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, state, value| {
        walk_to_print(state, value)?;
        escape_formatter(out, state, value)
    });
    Program::new(environment, SyntaxConfig::default(), source)
}

fn rendered(source: &str) -> Result<String, Error> {
    program(source)?.render(context! { words => ["a", "b"], text => "a b", table => context! { a => 1 } })
}

/// Each is refused, and soon.
#[track_caller]
fn refused(source: &str) {
    let start = Instant::now();
    let outcome = rendered(source).map(|text| text.len());
    let beginning: String = source.chars().take(200).collect();
    assert!(outcome.is_err(), "{outcome:?}: {beginning}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}: {beginning}", start.elapsed());
}

/// Works its way up to a large value, forty or more times over.
fn grown(start: &str, step: &str, then: &str) -> String {
    format!(
        "{{% set ns = namespace(x={start}, y={start}) %}}{{% for i in range(60) %}}\
         {{% set ns.x = {} %}}{{% set ns.y = {} %}}{{% endfor %}}{then}",
        step.replace("X", "ns.x"),
        step.replace("X", "ns.y")
    )
}

#[test]
fn a_value_that_doubles_is_refused_however_it_is_walked() {
    for step in ["[X, X]", "{'a': X, 'b': X}", "(X, X)", "[X] * 2", "[[X][0:1], X]", "dict(a=X, b=X)"] {
        for walk in [
            "{{ ns.x }}",
            "{{ ns.x == ns.y }}",
            "{{ ns.x < ns.y }}",
            "{{ ns.x in [ns.y] }}",
            "{{ ns.x is eq ns.y }}",
            "{{ ns.x ~ '' }}",
            "{{ ns.x | tojson }}",
            "{{ ns.x | string }}",
            "{{ [ns.x, ns.y] | sort }}",
            "{{ [ns.x, ns.y] | unique }}",
            "{{ [ns.x, ns.y] | min }}",
            "{{ [ns.x, ns.y] | join }}",
            "{{ [ns.x, ns.y] | map('string') | list }}",
            "{{ [ns.x].count(ns.y) }}",
            "{{ {ns.x: 1} }}",
            "{{ {}[ns.x] }}",
            "{{ {}.get(ns.x) }}",
            "{{ '%s' | format(ns.x) }}",
            "{% for i in words %}{{ loop.changed(ns.x) }}{% endfor %}",
            "{% filter replace('', ns.x) %}a{% endfilter %}",
            "{% call namespace(x=ns.x) %}{% endcall %}",
        ] {
            refused(&grown("[1]", step, walk));
        }
    }
    for growing in [
        "X ~ X",
        "X + X",
        "X * 2",
        "X.replace('x', 'xx')",
        "X | replace('x', 'xx')",
        "[X, X] | join",
        "'%s%s' | format(X, X)",
    ] {
        refused(&grown("'x'", growing, "{{ ns.x }}"));
    }
    refused(&grown("[1]", "X + X", "{{ ns.x | length }}"));
    refused("{% set big = 'x' * 30000000 %}{{ [big] * 1000 }}");
    refused("{% set big = 'x' * 30000000 %}{{ ([big] * 1000) | tojson }}");
    refused(
        "{% set big = 'x' * 3000000 %}{{ [big, big, big, big, big, big, big, big, big, big, big, big] ~ '' }}",
    );
}

#[test]
fn a_value_that_nests_is_refused_before_it_can_overflow_the_stack() {
    for step in
        ["[X]", "{'a': X}", "(X,)", "dict(a=X)", "namespace(x=X)", "[X, 1] | list", "{'a': X} | items | list"]
    {
        let deep = "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = STEP %}{% endfor %}{{ ns.x }}";
        refused(&deep.replace("STEP", &step.replace("X", "ns.x")));
    }
    let mut straight = "{% set x = [1] %}".to_owned();
    for _ in 0..10_000 {
        straight += "{%set x=[[[[[[x]]]]]]%}";
    }
    refused(&straight);
    refused("{% macro f(x) %}{{ f([[[[[[[[x]]]]]]]]) }}{% endmacro %}{{ f(1) }}");
    refused("{% for x in [[1]] recursive %}{{ loop([[x]]) }}{% endfor %}");
    refused("{% for x in [words] recursive %}{{ loop([x]) }}{% endfor %}");
    // Sequences that are worked out as they are read are lists once they are kept.
    let lazy = "{% set ns = namespace(x=words) %}{% for i in range(100000) %}{% set ns.x = STEP %}{% endfor %}{{ ns.x }}";
    for step in ["ns.x[0:]", "ns.x | reverse", "ns.x[::-1]", "ns.x | map('string')"] {
        let shallow = rendered(&lazy.replace("100000", "1000").replace("STEP", step)).unwrap();
        assert!(shallow.contains('a') && shallow.contains('b'), "{shallow}");
    }
}

#[test]
fn what_could_hold_values_unseen_is_put_into_nothing() {
    for source in [
        "{% set ns = namespace() %}{% set ns.x = ns %}",
        "{% set ns = namespace() %}{% set x = [ns] %}",
        "{% set ns = namespace() %}{% set x = {'a': ns} %}",
        "{% set ns = namespace() %}{% set x = namespace(a=ns) %}",
        "{% set ns = namespace() %}{% set ns.x | default(ns, true) %}{% endset %}",
        "{% set ns = namespace() %}{% set a, ns.x = 1, ns %}",
        "{% set ns = namespace() %}{% with ns.x = ns %}{% endwith %}",
        "{% set ns = namespace() %}{% for ns.x in [ns] %}{% endfor %}",
        "{% set ns = namespace() %}{% set m = namespace %}{% set ns.x = m %}",
        "{% set ns = namespace() %}{% for i in words %}{% set ns.x = loop %}{% endfor %}",
        "{% for i in words %}{% for j in [loop] %}{% endfor %}{% endfor %}",
        "{% for i in words %}{{ loop.changed(loop) }}{% endfor %}",
        "{% macro f() %}{% endmacro %}{% set x = [f] %}",
        "{% set x = [range] %}",
        "{{ debug() }}",
        "{{ words | pprint }}",
    ] {
        refused(source);
    }
}

#[test]
fn work_without_end_and_sizes_without_measure_are_refused() {
    for source in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% for i in range(9) %}{{ f(n + 1) }}{% endfor %}{% endmacro %}{{ f(0) }}",
        "{{ range(100000000000) | list }}",
        "{{ 'x' * 9999999999 }}",
        "{{ [0] * 9999999999 }}",
        "{{ '%999999999999d' | format(1) }}",
        "{{ 'x' | indent(999999999999) }}",
        "{{ ('x\n' * 9999) | indent(9999999) }}",
        "{{ 'x'.center(999999999999) }}",
        "{{ 'x'.ljust(999999999999) }}",
        "{{ 'x'.zfill(999999999999) }}",
        "{{ words | slice(999999999999) | list }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ words * -1 | abs * 99999999999 }}",
        "{{ loop.cycle() }}",
        "{% for i in words %}{{ loop.cycle() }}{% endfor %}",
        "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
        "{{ ['b' * 100000] * 100000 | join }}",
        "{% set x = ['b' * 100000] * 100000 %}{{ x | join }}",
    ] {
        refused(source);
    }
}

#[test]
fn syntax_trees_have_a_depth_that_can_be_walked() {
    let many = |what: &str, n: usize| what.repeat(n);
    let mut branches = "{% if a %}".to_owned();
    for _ in 0..10_000 {
        branches += "{% elif a %}";
    }
    for source in [
        format!("{{{{ {}1{} }}}}", many("(", 100_000), many(")", 100_000)),
        format!("{{{{ 1{} }}}}", many("+1", 100_000)),
        format!("{{{{ 1{} }}}}", many("~1", 100_000)),
        format!("{{{{ a{} }}}}", many(".a", 100_000)),
        format!("{{{{ a{} }}}}", many("[0]", 80_000)),
        format!("{{{{ a{} }}}}", many("|d", 100_000)),
        format!("{{{{ {}a }}}}", many("not ", 60_000)),
        format!("{{{{ {}1 }}}}", many("-", 200_000)),
        format!("{{{{ {}1 }}}}", many("1 if 1 else ", 20_000)),
        format!("{{{{ 1{} }}}}", many("**1", 80_000)),
        format!("{{{{ f({}) }}}}", many("1,", 100_000)),
        many("{% if a %}", 20_000),
        many("{% for a in a %}", 10_000),
        branches + "{% endif %}",
        many("x", LONGEST + 1),
    ] {
        refused(&source);
    }
    // Just within the limits nothing overflows.
    let chain = format!("{{{{ 1{} }}}}", many("+1", 400));
    assert_eq!(rendered(&chain).unwrap(), "401");
    let mut branches = "{% if words == 1 %}".to_owned();
    for _ in 0..BRANCHES - 1 {
        branches += "{% elif words == 1 %}";
    }
    assert_eq!(rendered(&(branches + "{% else %}x{% endif %}")).unwrap(), "x");
}

#[test]
fn the_deepest_that_is_allowed_is_walked_on_a_small_stack() {
    let mut source = "{% set x = 1 %}".to_owned();
    for _ in 0..75 {
        source += "{% set x = {'a': [x]} %}";
    }
    let other = source.replace('x', "y");
    source += &other;
    // As deep as macros go, and then what is deepest in every way that values are walked.
    write!(
        source,
        "{{% macro f(n) %}}{{% if n %}}{{{{ f(n - 1) }}}}{{% else %}}{{{{ x }}}}{{{{ x == [1] }}}}{{{{ x == y }}}}\
         {{{{ x ~ y }}}}{{% endif %}}{{% endmacro %}}{{{{ f(45) }}}}"
    )
    .unwrap();
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let text = small.spawn(move || rendered(&source).unwrap()).unwrap().join().unwrap();
    assert!(text.len() > 900, "{text}");
}

#[test]
fn what_templates_do_is_as_it_was() {
    for (source, expected) in [
        (
            "{% set ns = namespace(found=false, all=[]) %}{% for w in words %}{% set ns.all = ns.all + [w] %}{% endfor %}{{ ns.all }}",
            "['a', 'b']",
        ),
        ("{% for w in words[::-1] %}{{ w }}{{ loop.index }}{{ loop.last }}{% endfor %}", "b1Falsea2True"),
        ("{{ words[1:] is sequence }}{{ words[-1] }}{{ words[1:][0] }}", "Truebb"),
        ("{% macro f(x, y=2) %}{{ x }}{{ y }}{% endmacro %}{{ f(1) }}{{ f(1, y=[3]) }}", "121[3]"),
        (
            "{% macro f(ns) %}{% set ns.x = 2 %}{% endmacro %}{% set ns = namespace(x=1) %}{{ f(ns) }}{{ ns.x }}",
            "2",
        ),
        (
            "{{ nothing is defined }}{{ nothing is none }}{{ nothing }}{{ table.b is defined }}",
            "FalseFalseFalse",
        ),
        ("{{ 'yes' if words | length > 1 and 'a' in words else 'no' }}", "yes"),
        (
            "{% for k, v in table.items() %}{{ k }}={{ v }}{% endfor %}{{ table | items | list }}",
            "a=1[('a', 1)]",
        ),
        ("{{ (1, 2) }}{{ [1, 'x', none, true, {'a': 1.5}] }}", "(1, 2)[1, 'x', None, True, {'a': 1.5}]"),
        ("{{ words | map('upper') | join(',') }}{{ words | select('equalto', 'a') | list }}", "A,B['a']"),
        ("{{ text.split(' ')[-1] ~ text.split()[0] }}{{ text.replace(' ', '') }}", "baab"),
        ("{% set x | upper %}{{ text }}{% endset %}{{ x }}{% filter upper %}x{% endfilter %}", "A BX"),
        ("{% macro f() %}<{{ caller('x') }}>{% endmacro %}{% call(a) f() %}{{ a }}{% endcall %}", "<x>"),
        ("{% for w in words recursive %}{{ w if w is string else loop(w) }}{% endfor %}", "ab"),
        ("{% for i in range(3) if i != 1 %}{{ i }}{% else %}none{% endfor %}", "02"),
        ("{{ 1 < 2 < 3 }}{{ not 1 == 2 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 3 }}{{ -1 }}", "TrueTrue338-1"),
        ("{% set a, b = words %}{{ b }}{{ a }}{% with c = a %}{{ c }}{% endwith %}", "baa"),
        ("{{ {'a': words}.a[0] }}{{ dict(a=1) }}", "a{'a': 1}"),
    ] {
        assert_eq!(
            rendered(source).map_err(|error| format!("{error:#}: {source}")).unwrap(),
            expected,
            "{source}"
        );
    }
}
