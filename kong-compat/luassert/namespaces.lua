-- Assertions, modifiers and matchers by name.
return { assertion = {}, modifier = {}, matcher = {} }
