"""Models behind one protocol: who has them, what they cost, and what happens when they fail.

exchange       the words of one exchange, and what a provider is
errors         what an exchange can fail with
settings       what one provider is configured with; reading: all of them, out of the file and the environment
configuration  how they are used together
models         `Models`: whom to ask, and what everybody asks
choosing       scores and policies; pure
asking         one wish on its way, and each attempt at it; answering: one stream
standing       what is known of a provider: circuit, places, how its models did
spending       what may be spent; prices: what models cost
figures        what it all came to, in plain numbers
wire           providers behind an address
scripted       the provider that answers by a script; scripts: what it answers
client         the model of the client that asked; spoken_tools: tools in words
whole_tasks    tasks for who works alone; carrying: one on its way; claude_code: who does
"""

__all__: list[str] = []
