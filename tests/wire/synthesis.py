"""Values that a shape of botocore's model allows: all members or only the required ones, different for each seed."""

import datetime
import random
import re

from re import _constants as regex
from re import _parser as regex_parser

ARN = "arn:aws:lambda:eu-west-1:123456789012"
# Where Python's re cannot read the pattern, or AWS has another one than its model.
GIVEN = {
    "TagKey": ["team", "a b/c+d=e@f", "größe:1"],
    "TagValue": ["", "blue", "100 + 1 = 101 @ ü/"],
    "TaggableResource": [f"{ARN}:function:f", f"{ARN}:event-source-mapping:01234567-89ab-cdef-0123-456789abcdef"],
}
FREE = ["plain", "two words", "ünïcödé", "a/b?c=d&e", "100% + 1", 'quote " and \\', "line\nbreak", "{\"json\": [1]}"]


class Synthesis:
    def __init__(self, seed, full):
        self.random = random.Random(seed)
        self.full = full
        self.counter = 0

    def value(self, shape, location=None):
        make = getattr(self, shape.type_name)
        return make(shape, location) if shape.type_name == "string" else make(shape)

    def structure(self, shape):
        members = {}
        for name, member in shape.members.items():
            if self.full or name in shape.required_members:
                location = member.serialization.get("location")
                members[name] = self.random.choice([200, 202]) if location == "statusCode" else self.value(member, location)
        return members

    def list(self, shape):
        least, most = shape.metadata.get("min", 0), shape.metadata.get("max", 3)
        return [self.value(shape.member) for _ in range(min(most, max(least, 2)))]

    def map(self, shape):
        return {self.value(shape.key): self.value(shape.value) for _ in range(3)}

    def string(self, shape, location):
        if shape.enum:
            return self.random.choice(shape.enum)
        if shape.name in GIVEN:
            return self.random.choice(GIVEN[shape.name])
        least, most = shape.metadata.get("min", 0), shape.metadata.get("max", 10_000)
        if "pattern" in shape.metadata:
            for repetitions in (3,) * 4 + (20, 60) + (300,) * 9:
                text = self.sample(regex_parser.parse(shape.metadata["pattern"]), repetitions)
                if least <= len(text) <= most and re.fullmatch(shape.metadata["pattern"], text):
                    return text
            raise AssertionError(f"no text found for {shape.name}")
        self.counter += 1
        text = f"{self.counter} plain" if location == "header" else f"{self.counter} {self.random.choice(FREE)}"
        return text.ljust(least, "x")[:most]

    def number(self, shape, otherwise):
        least = shape.metadata.get("min", 0)
        most = shape.metadata.get("max", least + otherwise)
        return least, most

    def integer(self, shape):
        least, most = self.number(shape, 1000)
        # Near the lower end: the documented ranges are narrower than the model's at the upper.
        return self.random.randint(least, min(most, least + 700))

    def long(self, shape):
        return self.random.randint(*self.number(shape, 2**40))

    def double(self, shape):
        return self.random.uniform(*self.number(shape, 1))

    float = double

    def boolean(self, _):
        return self.random.choice([True, False])

    def blob(self, _):
        return self.random.randbytes(self.random.randint(1, 70))

    def timestamp(self, _):
        return datetime.datetime(2025, 11, 3, 9, 12, 33, tzinfo=datetime.timezone.utc)

    # Texts of a pattern

    def sample(self, parsed, repetitions):
        return "".join(self.part(operation, argument, repetitions) for operation, argument in parsed)

    def part(self, operation, argument, repetitions):
        if operation is regex.LITERAL:
            return chr(argument)
        if operation is regex.ANY:
            return self.random.choice("aZ9/ü -")
        if operation is regex.IN:
            return self.random.choice([c for c in map(chr, range(33, 127)) if self.among(c, argument)])
        if operation is regex.BRANCH:
            return self.sample(self.random.choice(argument[1]), repetitions)
        if operation is regex.SUBPATTERN:
            return self.sample(argument[3], repetitions)
        if operation is regex.MAX_REPEAT:
            least, most, repeated = argument
            count = self.random.randint(least, min(most, max(least, repetitions)))
            return "".join(self.sample(repeated, repetitions) for _ in range(count))
        if operation is regex.NOT_LITERAL:
            return "x" if argument != ord("x") else "y"
        # Anchors and look-around take no text; what they forbid is tried again.
        assert operation in (regex.AT, regex.ASSERT, regex.ASSERT_NOT), operation
        return ""

    @staticmethod
    def among(char, items):
        def one(operation, argument):
            if operation is regex.LITERAL:
                return char == chr(argument)
            if operation is regex.RANGE:
                return argument[0] <= ord(char) <= argument[1]
            if operation is regex.CATEGORY:
                return {
                    regex.CATEGORY_DIGIT: char.isdigit(), regex.CATEGORY_SPACE: char.isspace(),
                    regex.CATEGORY_NOT_SPACE: not char.isspace(), regex.CATEGORY_WORD: char.isalnum() or char == "_",
                }[argument]
            return False

        negated = items[0][0] is regex.NEGATE
        return any(one(*item) for item in items) != negated
