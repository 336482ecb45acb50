#!/usr/bin/env python3
"""Writes src/model/<service>/ from botocore's models: facts only (names, types, constraints), no prose.

One TOML file beside this script names a service, the operations to take, and where AWS is known to differ from its own
model. To type one more operation, add its name there and run this again. The output is checked in; the same botocore (tests/requirements.txt) and rustfmt give the same bytes.
Usage: generate.py [output folder], by default the crate's src/model.
"""

import pathlib
import re
import subprocess
import sys
import tomllib

import botocore.loaders

HERE = pathlib.Path(__file__).resolve().parent
CRATE = HERE.parent
KEYWORDS = {"type", "ref", "match", "move", "use", "static", "in", "as", "loop", "where"}
SCALARS = {
    "string": "String", "boolean": "bool", "integer": "i32", "long": "i64", "double": "f64", "float": "f32",
    "blob": "Bytes", "timestamp": "Timestamp",
}
JAVA_CLASSES = {"d": "0-9", "w": "a-zA-Z_0-9", "s": r" \t\n\x0B\f\r"}


def snake(name):
    """FunctionName -> function_name, KMSKeyArn -> kms_key_arn, S3Bucket -> s3_bucket."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced).lower()


def pascal(name):
    """What serde's rename_all = "PascalCase" makes of a snake_case field."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def field(name):
    return f"r#{snake(name)}" if snake(name) in KEYWORDS else snake(name)


def constant(name):
    return snake(name).upper()


def text(value):
    """A Rust string literal, raw where that reads better."""
    if "\\" in value or '"' in value:
        hashes = "#" if '"' in value else ""
        return f'r{hashes}"{value}"{hashes}'
    return f'"{value}"'


def regex(pattern):
    r"""A Java pattern in the regex crate's syntax: \d, \w and \s are ASCII there, and `.` stops at more line ends."""
    out, inside, i = [], False, 0
    while i < len(pattern):
        char, following = pattern[i], pattern[i + 1 : i + 2]
        if char == "\\" and following in JAVA_CLASSES:
            out.append(JAVA_CLASSES[following] if inside else f"[{JAVA_CLASSES[following]}]")
            i += 2
            continue
        if char == "\\":
            out.append(char + following)
            i += 2
            continue
        if pattern.startswith(("(?!", "(?=", "(?<"), i):
            sys.exit(f"the regex crate has no look-around, translate this pattern under [regex]: {pattern}")
        if char == "[":
            inside = True
        elif char == "]":
            inside = False
        out.append(r"[^\n\r\u{85}\u{2028}\u{2029}]" if char == "." and not inside else char)
        i += 1
    return "".join(out)


class Service:
    """One service's model, seen through its TOML file."""

    def __init__(self, name):
        self.name = name
        self.choice = tomllib.loads((HERE / f"{name}.toml").read_text())
        self.model = botocore.loaders.Loader().load_service_model(name, "service-2")
        self.shapes = self.model["shapes"]
        self.operations = {o: self.model["operations"][o] for o in self.choice["operations"]}
        self.inputs = self.reach(o["input"]["shape"] for o in self.operations.values() if "input" in o)
        self.outputs = self.reach(o["output"]["shape"] for o in self.operations.values() if "output" in o)

    def override(self, table, shape, otherwise=None):
        return self.choice.get(table, {}).get(shape, otherwise)

    def reach(self, roots):
        """Names of all shapes below the roots."""
        seen, queue = set(), list(roots)
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            shape = self.shapes[name]
            queue += [m["shape"] for m in shape.get("members", {}).values()]
            queue += [shape[k]["shape"] for k in ("member", "key", "value") if k in shape]
        return seen

    # Types

    def rust(self, name):
        shape = self.shapes[name]
        match shape["type"]:
            case "structure":
                return name
            case "list":
                return f"Vec<{self.rust(shape['member']['shape'])}>"
            case "map":
                return f"IndexMap<{self.rust(shape['key']['shape'])}, {self.rust(shape['value']['shape'])}>"
            case scalar:
                return SCALARS[scalar]

    def struct(self, name):
        shape = self.shapes[name]
        required = shape.get("required", []) if name in self.inputs else []
        lines = [
            "#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]",
            '#[serde(default, rename_all = "PascalCase")]',
            f"pub struct {name} {{",
        ]
        for member, reference in shape["members"].items():
            rust = self.rust(reference["shape"])
            serde = []
            if shape.get("payload") == member:
                serde.append("skip")
            else:
                if pascal(snake(member)) != member:
                    serde.append(f'rename = "{member}"')
                if rust == "Bytes" and member in required:
                    sys.exit(f"{name}.{member}: crate::blob knows optional blobs only")
                if rust == "Bytes":
                    serde.append('with = "crate::blob"')
                if member not in required:
                    serde.append('skip_serializing_if = "Option::is_none"')
            if serde:
                lines.append(f"#[serde({', '.join(serde)})]")
            lines.append(f"pub {field(member)}: {rust if member in required else f'Option<{rust}>'},")
        return "\n".join(lines + ["}"])

    def types(self):
        structures = [n for n in sorted(self.inputs | self.outputs) if self.shapes[n]["type"] == "structure"]
        structs = [self.struct(name) for name in structures]
        body = "\n\n".join(structs)
        uses = ["use serde::{Deserialize, Serialize};"]
        uses += ["use bytes::Bytes;"] if "Bytes" in body else []
        uses += ["use indexmap::IndexMap;"] if "IndexMap" in body else []
        uses += ["use crate::Timestamp;"] if "Timestamp" in body else []
        return "\n".join(uses) + "\n\n" + body

    # Constraints

    def bounds(self, name):
        shape = self.shapes[name]
        return self.override("range", name, {k: shape[k] for k in ("min", "max") if k in shape})

    def limits(self, name, number):
        bounds = self.bounds(name)
        sides = [f"Some({number(bounds[k])})" if k in bounds else "None" for k in ("min", "max")]
        return f"Bounds {{ min: {sides[0]}, max: {sides[1]} }}"

    def shape(self, name):
        """The expression by which a member, element, key or value refers to a shape."""
        match self.shapes[name]["type"]:
            case "structure" | "list" | "map" | "string" as kind:
                return f"Shape::{kind.capitalize()}(&{constant(name)})"
            case "integer" | "long" as kind:
                return f"Shape::{kind.capitalize()}({self.limits(name, int)})"
            case "double" | "float":
                return f"Shape::Double({self.limits(name, float)})"
            case "boolean" | "blob" as kind:
                return f"Shape::{kind.capitalize()}"
            case other:
                sys.exit(f"shape {name}: constraint tables do not know the type {other} yet")

    def pattern(self, name):
        printed = self.override("pattern", name, self.shapes[name].get("pattern"))
        if printed is None:
            return "None"
        translated = self.override("regex", name) or regex(printed)
        return f"Some(Pattern::new({text(printed)}, || compile({text(translated)})))"

    def values(self, name):
        modelled = self.shapes[name].get("enum", [])
        values = self.override("values", name, modelled)
        if set(values) - set(modelled):
            sys.exit(f"[values] {name} has a value that is not in the model")
        return f"&[{', '.join(text(v) for v in values)}]"

    def definition(self, name):
        """The static behind a shape that has more to say than its type; None for the others."""
        shape = self.shapes[name]
        match shape["type"]:
            case "structure":
                members = "".join(self.member(name, m, r) for m, r in shape["members"].items())
                kind, fields = "Structure", f"name: {text(name)}, members: &[{members}]"
            case "list":
                nullable = str(name in self.choice.get("nullable", {}).get("elements", [])).lower()
                kind = "List"
                fields = (
                    f"element: {self.shape(shape['member']['shape'])}, "
                    f"length: {self.limits(name, int)}, nullable: {nullable}"
                )
            case "map":
                sensitive = str(shape.get("sensitive", False)).lower()
                kind = "Map"
                fields = (
                    f"key: &{constant(shape['key']['shape'])}, value: {self.shape(shape['value']['shape'])}, "
                    f"length: {self.limits(name, int)}, sensitive: {sensitive}"
                )
            case "string":
                kind = "Text"
                fields = (
                    f"length: {self.limits(name, int)}, pattern: {self.pattern(name)}, values: {self.values(name)}"
                )
            case _:
                return None
        return f"pub(super) static {constant(name)}: {kind} = {kind} {{ {fields} }};"

    def constraints(self):
        body = "\n".join(filter(None, (self.definition(name) for name in sorted(self.inputs))))
        vocabulary = ["Bounds", "List", "Location", "Map", "Member", "Pattern", "Shape", "Structure", "Text"]
        used = ", ".join(v for v in vocabulary if re.search(rf"\b{v}\b", body))
        return f"use crate::constraint::compile;\nuse crate::shape::{{{used}}};\n\n{body}"

    def location(self, structure, member):
        reference = self.shapes[structure]["members"][member]
        wire = reference.get("locationName", member)
        if self.shapes[structure].get("payload") == member:
            return "Location::Payload"
        match reference.get("location"):
            case None:
                return "Location::Body" if wire == member else sys.exit(f"{structure}.{member} has another JSON name")
            case "uri":
                return f'Location::Uri("{wire}")'
            case "querystring":
                return f'Location::Query("{wire}")'
            case "header":
                return f'Location::Header("{wire.lower()}")'
            case "statusCode":
                return "Location::StatusCode"
            case other:
                sys.exit(f"{structure}.{member}: no codec for the location {other} yet")

    def member(self, structure, member, reference):
        required = str(member in self.shapes[structure].get("required", [])).lower()
        return (
            f"Member {{ name: {text(member)}, shape: {self.shape(reference['shape'])}, required: {required}, "
            f"location: {self.location(structure, member)} }},"
        )

    # Operations

    def route(self, name):
        http = self.model["operations"][name]["http"]
        path, _, query = http["requestUri"].partition("?")
        status = self.override("status", name, http.get("responseCode", 200))
        pairs = ", ".join("({}, {})".format(*(text(x) for x in (q + "=").split("=")[:2])) for q in query.split("&") if q)
        return (
            f"Route {{ service: {text(self.name)}, operation: {text(name)}, method: Method::{http['method']}, "
            f"path: {text(path.rstrip('/'))}, query: &[{pairs}], status: {status} }}"
        )

    def implementation(self, name, operation):
        if "input" not in operation:
            sys.exit(f"{name} has no input; `decode` knows operations with one only")
        given = operation["input"]["shape"]
        answer = operation.get("output", {}).get("shape")
        if not answer and operation["http"]["responseCode"] != 204:
            sys.exit(f"{name} has no output and is not a 204; `encode` would write null")
        lines = [
            f"pub struct {name};",
            f"impl Operation for {name} {{",
            f"type Input = {given};",
            f"type Output = {answer or '()'};",
            f"const ROUTE: &'static Route = &{constant(name)};",
        ]
        members = self.shapes[answer]["members"] if answer else {}
        placed = [m for m, r in members.items() if "location" in r or self.shapes[answer].get("payload") == m]
        outside = ", ".join(f"({text(m)}, {self.location(answer, m)})" for m in placed)
        if placed:
            lines.append(f"const OUTSIDE_BODY: &'static [(&'static str, Location)] = &[{outside}];")
        lines.append(f"fn input() -> &'static Structure {{ &constraints::{constant(given)} }}")
        for structure, method in ((given, self.take_payload), (answer, self.give_payload)):
            payload = structure and self.shapes[structure].get("payload")
            if payload:
                lines.append(method(self.shapes[structure]["members"][payload]["shape"], payload))
        return "\n".join(lines + ["}"])

    def take_payload(self, shape, member):
        self.expect_blob(shape, member)
        return f"fn set_payload(input: &mut Self::Input, body: Bytes) {{ input.{field(member)} = Some(body); }}"

    def give_payload(self, shape, member):
        self.expect_blob(shape, member)
        return f"fn payload(output: &Self::Output) -> Option<&Bytes> {{ output.{field(member)}.as_ref() }}"

    def expect_blob(self, shape, member):
        if self.shapes[shape]["type"] != "blob":
            sys.exit(f"the payload {member} is not a blob; there is no codec for that yet")

    def operation_table(self):
        routes = "\n".join(
            f"static {constant(name)}: Route = {self.route(name)};" for name in self.model["operations"]
        )
        table = ", ".join(f"&{constant(name)}" for name in self.model["operations"])
        known = ", ".join(text(name) for name in self.operations)
        inputs = ", ".join(f"&constraints::{constant(o['input']['shape'])}" for o in self.operations.values())
        bodies = "\n\n".join(self.implementation(name, o) for name, o in self.operations.items())
        uses = "use http::Method;\nuse super::{constraints, types::*};\nuse crate::operation::{Operation, Route};\n"
        uses += "use bytes::Bytes;\n" if "Bytes" in bodies else ""
        uses += "use crate::shape::{Location, Structure};\n" if "Location::" in bodies else "use crate::shape::Structure;\n"
        return (
            f"{uses}\n/// Every operation that AWS has, with or without a type here.\n"
            f"pub static ROUTES: &[&Route] = &[{table}];\n\n"
            f"/// The names of the operations that have a type below.\n"
            f"pub static TYPED: &[&str] = &[{known}];\n\n"
            f"#[cfg(test)]\npub(crate) static INPUTS: &[&Structure] = &[{inputs}];\n\n{routes}\n\n{bodies}"
        )

    # Faults

    def fault(self, name):
        shape = self.shapes[name]
        error = shape["error"]
        spelling = [m for m in shape["members"] if m.lower() == "message"]
        headers = ", ".join(
            f"({text(m)}, {text(r['locationName'].lower())})"
            for m, r in shape["members"].items()
            if r.get("location") == "header"
        )
        side = "Sender" if error.get("senderFault") else "Receiver"
        return (
            f"pub static {constant(name).removesuffix('_EXCEPTION')}: FaultCode = FaultCode {{ name: {text(name)}, "
            f"status: {error['httpStatusCode']}, message: {text(spelling[0])}, side: Some(Side::{side}), "
            f"headers: &[{headers}] }};"
        )

    def faults(self):
        names = sorted(n for n, s in self.shapes.items() if s.get("exception"))
        table = ", ".join(f"&{constant(name).removesuffix('_EXCEPTION')}" for name in names)
        listed = f"/// All of the model.\npub static ALL: &[&FaultCode] = &[{table}];\n\n"
        return "use crate::fault::{FaultCode, Side};\n\n" + listed + "\n".join(self.fault(n) for n in names)

    def module(self):
        constants = "\n".join(
            f"/// In the order in which AWS prints them.\npub static {name}: &[&str] = &[{', '.join(map(text, values))}];"
            for name, values in self.choice.get("constants", {}).items()
        )
        return (
            "mod constraints;\npub mod fault;\nmod operations;\nmod types;\n\n"
            f"pub use operations::*;\npub use types::*;\n\n{constants}"
        )

    def files(self):
        title = self.model["metadata"]["serviceFullName"]
        about = {
            "mod": f"{title}: the shapes, operations and faults of its API, as modelled by AWS.",
            "types": f"{title}: inputs and outputs of the operations.",
            "constraints": f"{title}: what the model demands of each input, for `constraint::check`.",
            "operations": f"{title}: its operations and their routes.",
            "fault": f"{title}: its error codes.",
        }
        bodies = {
            "mod": self.module(), "types": self.types(), "constraints": self.constraints(),
            "operations": self.operation_table(), "fault": self.faults(),
        }
        notice = f"//! Generated by generate/generate.py from botocore's model and generate/{self.name}.toml; do not edit."
        return {f"{n}.rs": f"//! {about[n]}\n//!\n{notice}\n\n{body}\n" for n, body in bodies.items()}


def main():
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else CRATE / "src" / "model"
    for choice in sorted(HERE.glob("*.toml")):
        service = Service(choice.stem)
        folder = output / service.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in service.files().items():
            (folder / name).write_text(content)
        # rustfmt follows the module's `mod` lines to the other files.
        style = ["--edition", "2024", "--config-path", str(CRATE.parent.parent)]
        subprocess.run(["rustfmt", *style, str(folder / "mod.rs")], check=True, cwd=CRATE)


if __name__ == "__main__":
    main()
