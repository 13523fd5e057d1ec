"""From a plan to containers, and from containers to what became of them; torch is not needed.

estimate      what a plan will take
work          what is left to do, and what every container is told
back ends     processes (local, docker), batch, kubernetes with kubernetes_documents: render, submit, observe, cancel
status        a sweep as one object, from storage and back ends
"""
