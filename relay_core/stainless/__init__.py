"""What the adapters of SDKs that Stainless generates share: OpenAI's and Anthropic's.

Every call of such an SDK passes one method of its client exactly once, outside its retries: ``client.request``. Here a
Relay call is put around it. Types stay the SDK's own: a stream is observed, and rewritten, where its bytes come in.
"""
