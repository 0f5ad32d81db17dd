"""Names of loops that schedules give, and by which code generation finds them in the source."""

BYTE_STEPS = "byte_steps"  # over the steps of a product of bytes
