//! A template's syntax tree with every value checked: where it is made, where it is stored, and where it is walked.

use super::weigh::{HOLD, STORE, WALK};
use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOp, Do, EmitExpr, EmitRaw, Expr,
    Filter, FilterBlock, ForLoop, GetAttr, GetItem, IfCond, IfExpr, List, Macro, Map, Set, SetBlock, Slice,
    Spanned, Stmt, Template, Test, Tuple, UnaryOp, UnaryOpKind, Var, WithBlock,
};
use minijinja::machinery::ast::{Break, Const, Continue};

/// Filters that look at the outside of a value alone, however much is in it.
const SHALLOW: [&str; 7] = ["length", "count", "first", "last", "default", "d", "list"];

/// The same statement with all values checked.
pub(super) fn statement<'a>(of: &Stmt<'a>) -> Stmt<'a> {
    match of {
        Stmt::Template(it) => Stmt::Template(spanned(it, Template { children: body(&it.children) })),
        // Whatever is printed is walked by the formatter. `loop(…)` the engine knows by its form.
        Stmt::EmitExpr(it) => Stmt::EmitExpr(spanned(it, EmitExpr { expr: plain(&it.expr) })),
        Stmt::EmitRaw(it) => Stmt::EmitRaw(spanned(it, EmitRaw { raw: it.raw })),
        Stmt::ForLoop(it) => Stmt::ForLoop(spanned(
            it,
            ForLoop {
                target: target(&it.target),
                iter: value(&it.iter),
                filter_expr: it.filter_expr.as_ref().map(value),
                recursive: it.recursive,
                body: body(&it.body),
                else_body: body(&it.else_body),
            },
        )),
        Stmt::IfCond(it) => Stmt::IfCond(spanned(
            it,
            IfCond {
                expr: value(&it.expr),
                true_body: body(&it.true_body),
                false_body: body(&it.false_body),
            },
        )),
        Stmt::WithBlock(it) => {
            let assigned = |(to, from): &(Expr<'a>, Expr<'a>)| (target(to), stored(to, from));
            let assignments = it.assignments.iter().map(assigned).collect();
            Stmt::WithBlock(spanned(it, WithBlock { assignments, body: body(&it.body) }))
        }
        Stmt::Set(it) => {
            let expr = stored(&it.target, &it.expr);
            Stmt::Set(spanned(it, Set { target: target(&it.target), expr }))
        }
        Stmt::SetBlock(it) => {
            let filter = it.filter.as_ref().map(|filter| stored(&it.target, filter));
            Stmt::SetBlock(spanned(it, SetBlock { target: target(&it.target), filter, body: body(&it.body) }))
        }
        Stmt::AutoEscape(it) => {
            let inside = AutoEscape { enabled: value(&it.enabled), body: body(&it.body) };
            Stmt::AutoEscape(spanned(it, inside))
        }
        Stmt::FilterBlock(it) => {
            let filter = plain(&it.filter);
            let inside = FilterBlock { filter, filter_span: it.filter_span, body: body(&it.body) };
            Stmt::FilterBlock(spanned(it, inside))
        }
        Stmt::Macro(it) => Stmt::Macro(spanned(it, declared(it))),
        Stmt::CallBlock(it) => Stmt::CallBlock(spanned(
            it,
            CallBlock {
                call: spanned(&it.call, called(&it.call)),
                call_expr_span: it.call_expr_span,
                macro_decl: spanned(&it.macro_decl, declared(&it.macro_decl)),
            },
        )),
        Stmt::Continue(it) => Stmt::Continue(spanned(it, Continue)),
        Stmt::Break(it) => Stmt::Break(spanned(it, Break)),
        Stmt::Do(it) => Stmt::Do(spanned(it, Do { call: spanned(&it.call, called(&it.call)) })),
    }
}

fn body<'a>(statements: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
    statements.iter().map(statement).collect()
}

fn declared<'a>(of: &Macro<'a>) -> Macro<'a> {
    Macro {
        name: of.name,
        args: of.args.iter().map(target).collect(),
        defaults: of.defaults.iter().map(value).collect(),
        body: body(&of.body),
    }
}

/// What is assigned to.
fn target<'a>(of: &Expr<'a>) -> Expr<'a> {
    match of {
        Expr::GetAttr(it) => Expr::GetAttr(spanned(it, GetAttr { expr: value(&it.expr), name: it.name })),
        Expr::List(it) => Expr::List(spanned(it, List { items: it.items.iter().map(target).collect() })),
        Expr::Tuple(it) => Expr::Tuple(spanned(it, Tuple { items: it.items.iter().map(target).collect() })),
        other => plain(other),
    }
}

/// A value that is assigned; to an attribute only what is data through and through.
fn stored<'a>(to: &Expr<'a>, from: &Expr<'a>) -> Expr<'a> {
    match to {
        Expr::GetAttr(_) => through(STORE, plain(from)),
        _ => value(from),
    }
}

/// An expression whose value is kept or handed on.
fn value<'a>(of: &Expr<'a>) -> Expr<'a> {
    let makes = match of {
        Expr::Filter(_) | Expr::Call(_) | Expr::Slice(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => {
            true
        }
        Expr::BinOp(it) => matches!(it.op, BinOpKind::Add | BinOpKind::Mul | BinOpKind::Concat),
        _ => false,
    };
    if makes { through(HOLD, plain(of)) } else { plain(of) }
}

/// An expression whose value the engine walks: prints, compares, hashes, gives to a filter.
fn walked<'a>(of: &Expr<'a>) -> Expr<'a> {
    through(WALK, plain(of))
}

/// The value passes through one of our filters. A constant is what the source wrote out, and needs none.
fn through<'a>(filter: &'static str, inner: Expr<'a>) -> Expr<'a> {
    if matches!(inner, Expr::Const(_)) {
        return inner;
    }
    let span = inner.span();
    Expr::Filter(Spanned::new(Filter { name: filter, expr: Some(inner), args: Vec::new() }, span))
}

/// The same expression with all values inside of it checked.
fn plain<'a>(of: &Expr<'a>) -> Expr<'a> {
    match of {
        Expr::Var(it) => Expr::Var(spanned(it, Var { id: it.id })),
        Expr::Const(it) => Expr::Const(spanned(it, Const { value: it.value.clone() })),
        Expr::Slice(it) => Expr::Slice(spanned(
            it,
            Slice {
                expr: value(&it.expr),
                start: it.start.as_ref().map(value),
                stop: it.stop.as_ref().map(value),
                step: it.step.as_ref().map(value),
            },
        )),
        Expr::UnaryOp(it) => {
            // The engine's kinds cannot be copied.
            let is_not = matches!(it.op, UnaryOpKind::Not);
            let op = if is_not { UnaryOpKind::Not } else { UnaryOpKind::Neg };
            Expr::UnaryOp(spanned(it, UnaryOp { op, expr: value(&it.expr) }))
        }
        Expr::BinOp(it) => {
            let operand = match it.op {
                BinOpKind::ScAnd | BinOpKind::ScOr | BinOpKind::Add | BinOpKind::Mul => value,
                _ => walked,
            };
            Expr::BinOp(spanned(it, BinOp { op: it.op, left: operand(&it.left), right: operand(&it.right) }))
        }
        Expr::Compare(it) => {
            let ops = it.ops.iter().map(|one| CompareOp { op: one.op, expr: walked(&one.expr) }).collect();
            Expr::Compare(spanned(it, Compare { expr: walked(&it.expr), ops }))
        }
        Expr::IfExpr(it) => Expr::IfExpr(spanned(
            it,
            IfExpr {
                test_expr: value(&it.test_expr),
                true_expr: value(&it.true_expr),
                false_expr: it.false_expr.as_ref().map(value),
            },
        )),
        Expr::Filter(it) => {
            let subject = if SHALLOW.contains(&it.name) { value } else { walked };
            let (expr, args) = (it.expr.as_ref().map(subject), arguments(&it.args, subject));
            Expr::Filter(spanned(it, Filter { name: it.name, expr, args }))
        }
        Expr::Test(it) => {
            // Tests with arguments compare; others look at what a value is.
            let subject = if it.args.is_empty() { value } else { walked };
            let (expr, args) = (subject(&it.expr), arguments(&it.args, walked));
            Expr::Test(spanned(it, Test { name: it.name, expr, args }))
        }
        Expr::GetAttr(it) => Expr::GetAttr(spanned(it, GetAttr { expr: value(&it.expr), name: it.name })),
        Expr::GetItem(it) => {
            let (expr, subscript_expr) = (value(&it.expr), walked(&it.subscript_expr));
            Expr::GetItem(spanned(it, GetItem { expr, subscript_expr }))
        }
        Expr::Call(it) => Expr::Call(spanned(it, called(it))),
        Expr::List(it) => Expr::List(spanned(it, List { items: it.items.iter().map(value).collect() })),
        Expr::Tuple(it) => Expr::Tuple(spanned(it, Tuple { items: it.items.iter().map(value).collect() })),
        Expr::Map(it) => {
            let keys = it.keys.iter().map(walked).collect();
            Expr::Map(spanned(it, Map { keys, values: it.values.iter().map(value).collect() }))
        }
    }
}

/// A call. Functions and macros are handed their arguments; methods walk what they are called on and what with, and must
/// not keep more than data.
fn called<'a>(of: &Call<'a>) -> Call<'a> {
    match &of.expr {
        Expr::GetAttr(it) => {
            let on = GetAttr { expr: walked(&it.expr), name: it.name };
            let kept = |expr: &Expr<'a>| through(STORE, walked(expr));
            Call { expr: Expr::GetAttr(spanned(it, on)), args: arguments(&of.args, kept) }
        }
        // By its name the engine knows the loop from a function.
        Expr::Var(_) => Call { expr: plain(&of.expr), args: arguments(&of.args, value) },
        other => Call { expr: value(other), args: arguments(&of.args, value) },
    }
}

fn arguments<'a>(of: &[CallArg<'a>], each: impl Fn(&Expr<'a>) -> Expr<'a>) -> Vec<CallArg<'a>> {
    (of.iter())
        .map(|argument| match argument {
            CallArg::Pos(expr) => CallArg::Pos(each(expr)),
            CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, each(expr)),
            CallArg::PosSplat(expr) => CallArg::PosSplat(each(expr)),
            CallArg::KwargSplat(expr) => CallArg::KwargSplat(each(expr)),
        })
        .collect()
}

fn spanned<T, U>(at: &Spanned<T>, node: U) -> Spanned<U> {
    Spanned::new(node, at.span())
}
