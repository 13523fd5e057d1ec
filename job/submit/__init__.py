"""From a plan to containers, and from containers to what became of them. Nothing here needs torch.

backend       the protocol of all back ends: what each is given, and what it answers
registry      which back ends there are, and what must be known of each before it is imported
processes, batch, kubernetes: the back ends; kubernetes_documents is what one sends, kubernetes_answers what comes back
inputs        whether containers can read data and weights, and write the output
work          what is left to do of a sweep, and what its containers are told
submissions   what was sent out, and what became of its containers
status        a sweep as one object, from storage and back ends
stale         results whose origin differs from that of what would run now
estimate      images, steps, time and cost of a plan
measured      how fast the finished runs of an output were
pool          which machines a container may get
costs         what the containers of a submission are estimated to cost
budget        which containers a sum of money buys, and with what deadline
doctor        what is missing for a back end, before money is spent
"""
