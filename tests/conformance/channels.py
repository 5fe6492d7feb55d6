"""What asyncssh's own tests say of channels, forwards and global requests, and where we say it.

asyncssh does versions, key exchange and login for us; what comes after that (RFC 4254, messages 80
to 100) is our own code, of which its tests know nothing. So of its tests those stay that send none
of these messages (`test_as_asyncssh` runs them), and for each group of the others stands here what
it covered and which tests of ours cover that: with stock programs on the other side where it is a
matter of being understood, with a hostile peer where it is one of being safe, and with events and
commands alone where it is one of our state machines.

Which of them send such a message was found by running them and looking. test_channels.py keeps the
names true: what asyncssh adds there is in no group, and what is renamed here is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

FILES: Final = ("test_channel.py", "test_forward.py")
"""Every test in these is in a group; of other files only what a group names."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tests of asyncssh's, as `file::test` with wildcards, and ours (below `tests/`) instead."""

    about: str
    theirs: tuple[str, ...]
    ours: tuple[str, ...]

    def has(self, test: str) -> bool:
        """Is `file::test` or `file::class::test` one of theirs?"""
        file, *_, name = test.partition("[")[0].split("::")
        return any(fnmatchcase(f"{file}::{name}", pattern) for pattern in self.theirs)


def _in(file: str, names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names.split())


GROUPS: Final = (
    Group(
        "Sessions: shell, command, subsystem, with their terminals, environment, signals and exit"
        " codes; X11, agents and tunnel devices. We serve none, and open none.",
        _in(
            "test_channel.py",
            "shell* exec exec_* multiple_exec forced_exec invalid_exec subsystem* invalid_subsystem"
            " request_pty* terminal_* pty_* invalid_term* term_modes_* env env_* invalid_env*"
            " send_env* mixed_env xon_xoff_* break signal numeric_signal unknown_signal terminate"
            " kill invalid_signal full_terminal_* exit_* multiple_exit_* unknown_exit_signal"
            " invalid_exit_* agent_forwarding_* rejected_session rejected_t[au]*_request"
            " unknown_action partial_unicode* unicode_error",
        ),
        (
            "programs/test_refusals.py::test_channels_that_are_prohibited",
            "programs/test_refusals.py::test_channels_that_nobody_opens_to_a_server",
            "programs/test_refusals.py::test_a_person_who_wants_a_shell_reads_why_not",
            "attacks/test_sessions.py::test_there_is_no_shell_no_command_and_no_file",
            "attacks/test_requests.py::test_our_programs_refuse_what_they_do_not_serve",
        ),
    ),
    Group(
        "Opens and their answers: of an unknown kind, for what is not there, cut, with names that"
        " are no text, twice, by who was not asked; numbers of channels that are none.",
        (
            *_in(
                "test_channel.py",
                "invalid_open_confirmation invalid_open_failure already_open rejected_tcpip_direct"
                " rejected_unix_direct",
            ),
            *_in(
                "test_connection.py",
                "invalid_channel_open* unknown_channel_type missing_data_channel_number"
                " invalid_data_channel_number",
            ),
        ),
        (
            "attacks/test_cut_messages.py::test_a_message_of_a_consumer_that_is_cut",
            "attacks/test_cut_messages.py::test_an_answer_of_an_agent_that_is_cut",
            "attacks/test_cut_messages.py::test_names_that_nobody_knows_and_that_are_no_text",
            "attacks/test_answers.py::test_every_message",
            "attacks/test_answers.py::test_who_answers_its_own_open_reaches_nobody",
            "attacks/test_answers.py::test_who_answers_an_open_that_b_refused",
            "attacks/test_answers.py::test_an_agent_that_answers_twice",
            "attacks/test_offences.py::test_an_offence_hurts_nobody_else",
            "core/test_splice.py::test_an_open_is_answered_once",
            "core/test_channel.py::test_nobody_answers_who_was_not_asked",
        ),
    ),
    Group(
        "Packet sizes that are too small.",
        _in("test_channel.py", "invalid_open_max_pktsize invalid_max_pktsize_server"),
        (
            "attacks/test_packet_sizes.py::test_an_open_with_too_small_packets_is_refused",
            "attacks/test_packet_sizes.py::test_a_confirmation_with_too_small_packets_opens_nothing",
            "attacks/test_packet_sizes.py::test_the_smallest_packets_are_served",
            "core/test_splice.py::test_a_confirmation_with_a_packet_size_that_is_too_small",
        ),
    ),
    Group(
        "Requests on a channel, and answers to none.",
        _in(
            "test_channel.py",
            "unknown_channel_request invalid_channel_request delayed_channel_request"
            " invalid_channel_response request_after_close",
        ),
        (
            "core/test_splice.py::test_a_request_is_answered_with_failure_and_not_passed",
            "core/test_splice.py::test_a_request_gets_no_answer_after_our_close",
            "attacks/test_cut_messages.py::test_a_message_of_a_consumer_that_is_cut",
            "attacks/test_answers.py::test_every_message",
            "attacks/test_relay.py::test_every_message_to_an_agent",
            "attacks/test_relay.py::test_every_message_to_a_connect",
            "server/test_splices.py::test_only_who_asks_waits_for_its_unread_answers",
            "programs/test_peers.py::test_sshd_asks_whether_we_are_there",
        ),
    ),
    Group(
        "Data, windows, EOF and CLOSE: empty, too much, of another kind, after the end, twice.",
        _in(
            "test_channel.py",
            "empty_data oversized_data data_past_window ext_data_past_window data_after_*"
            " extended_data_after_eof invalid_datatype double_* window_adjust_after_eof"
            " invalid_write_extended",
        ),
        (
            "core/test_channel.py::test_received",
            "core/test_channel.py::test_sent",
            "core/test_channel.py::test_data_up_to_the_window",
            "core/test_splice.py::test_every_message_from_both_sides_in_every_state",
            "core/test_splice_machine.py::Splicing",
            "attacks/test_answers.py::test_every_message",
            "attacks/test_offences.py::test_who_breaks_the_protocol_loses_its_own_leg_alone",
            "attacks/test_offences.py::test_an_offence_hurts_nobody_else",
            "attacks/test_relay.py::test_every_message_to_an_agent",
            "attacks/test_relay.py::test_every_message_to_a_connect",
        ),
    ),
    Group(
        "Who does not read, and what waits for him.",
        (
            *_in(
                "test_channel.py",
                "write_buffer empty_write unneeded_resume_reading *_while_read_paused",
            ),
            *_in("test_forward.py", "forward_local_port_pause"),
        ),
        (
            "programs/test_streams.py::test_a_slow_client_holds_up_the_service_and_fills_no_memory",
            "programs/test_streams.py::test_a_client_that_breaks_off_while_the_service_is_slow_is_gone_too",
            "programs/test_streams.py::test_a_connect_that_hangs_holds_up_no_other",
            "attacks/test_legs.py::test_two_hundred_consumers_that_never_read",
            "core/test_queue.py::test_all_that_was_pushed_comes_out_in_the_order_of_its_key",
            "core/test_window.py::test_whatever_comes_a_sender_is_never_left_without_window",
        ),
    ),
    Group(
        "A leg that ends while a channel is opened or used, and what fails in whose name.",
        (
            *_in(
                "test_channel.py",
                "conn_close_during_* close_during_startup client_session_cleanup_error",
            ),
            *_in("test_forward.py", "add_channel_after_close async_runtime_error"),
            *_in("test_connection.py", "server_internal_error"),
        ),
        (
            "core/test_splice.py::test_the_opener_is_lost_before_the_answer",
            "core/test_splice.py::test_the_acceptor_is_lost_before_its_answer",
            "core/test_splice.py::test_both_legs_are_lost",
            "programs/test_streams.py::test_a_program_that_is_killed_breaks_the_stream",
            "programs/test_streams.py::test_a_killed_connect_breaks_its_streams_and_no_others",
            "programs/test_hold.py::test_who_is_gone_waits_no_more",
            "ssh/test_cleanup.py::test_a_channel_that_fails_keeps_nobody_from_hearing",
            "ssh/test_cleanup.py::test_what_a_leg_has_begun_ends_with_it",
        ),
    ),
    Group(
        "Keepalives: global requests, and requests on a channel.",
        (
            *_in("test_channel.py", "keepalive"),
            *_in(
                "test_connection.py",
                "client_keepalive client_keepalive_string client_keepalive_failure"
                " client_set_keepalive_interval client_set_keepalive_count_max server_keepalive"
                " server_keepalive_failure",
            ),
        ),
        (
            "programs/test_peers.py::test_ssh_asks_whether_we_are_there",
            "programs/test_peers.py::test_sshd_asks_whether_we_are_there",
            "programs/test_operation.py::test_a_client_that_does_not_answer_is_given_up",
            "programs/test_operation.py::test_a_count_of_zero_gives_up_nobody",
            "cli/test_in_earnest.py::test_a_server_that_falls_silent",
            "ssh/test_keepalive.py::test_how_long_a_silent_client_is_borne",
        ),
    ),
    Group(
        "Messages of the login among those of the connection, and the other way round.",
        (
            *_in("test_channel.py", "late_auth_banner unexpected_userauth_request"),
            *_in("test_connection.py", "late_userauth_request request_during_auth"),
        ),
        (
            "attacks/test_requests.py::test_who_logs_in_again_gains_nothing",
            "attacks/test_requests.py::test_our_programs_bear_a_late_banner",
            "attacks/test_cut_messages.py::test_nothing_of_the_connection_comes_before_the_login",
            "attacks/test_offences.py::test_an_offence_hurts_nobody_else",
        ),
    ),
    Group(
        "Global requests: their order, cut ones, unknown ones, replies to none.",
        (
            *_in("test_connection.py", "invalid_global_request unexpected_global_response"),
            *_in("test_forward.py", "multiple_global_requests"),
        ),
        (
            "attacks/test_requests.py::test_replies_come_in_the_order_of_the_requests",
            "attacks/test_requests.py::test_who_wants_no_reply_gets_none",
            "attacks/test_requests.py::test_who_replies_to_nothing_loses_its_leg",
            "attacks/test_requests.py::test_our_programs_answer_every_request",
            "attacks/test_cut_messages.py::test_a_message_of_a_consumer_that_is_cut",
        ),
    ),
    Group(
        "Host keys that a server tells of (hostkeys-00@openssh.com): we pass over them.",
        _in("test_connection.py", "host_key_[abhpr]*ed host_key_bad_signature no_trusted_hosts"),
        (
            "attacks/test_requests.py::test_our_programs_answer_every_request",
            "programs/test_openssh.py::test_sshd_as_b",
        ),
    ),
    Group(
        "Streams that are opened (direct-tcpip): served, refused, not permitted.",
        (
            *_in("test_forward.py", "connection connection_* upstream_forward_local_port"),
            *_in("test_forward.py", "forward_connect_error"),
        ),
        (
            "programs/test_matrix.py::test_programs_understand_one_another",
            "programs/test_openssh.py::test_ssh_as_a_or_c",
            "programs/test_streams.py::test_a_large_exchange_arrives_whole",
            "programs/test_streams.py::test_a_refusing_service_closes_the_client_and_is_named_in_both_logs",
            "programs/test_refusals.py::test_what_is_not_published_cannot_be_opened",
            "programs/test_refusals.py::test_what_a_key_may_open",
            "programs/test_end_to_end.py::test_what_a_key_may_open",
            "attacks/test_cut_messages.py::test_a_name_that_is_no_text",
            "core/test_splice.py::test_a_failure_of_the_open_passes_with_its_reason",
        ),
    ),
    Group(
        "Ports and names that are published (tcpip-forward), and given back.",
        (
            *_in("test_channel.py", "unknown_tcpip_listener invalid_tcpip_listener"),
            *_in(
                "test_forward.py",
                "server server_* forward_remote_port forward_remote_specific_port"
                " forward_remote_port_[afin]* cancel_forward_remote_port_*"
                " listener_close_on_conn_close",
            ),
        ),
        (
            "programs/test_matrix.py::test_programs_understand_one_another",
            "programs/test_refusals.py::test_port_0_picks_a_port_and_a_cancel_closes_it",
            "programs/test_refusals.py::test_a_port_of_the_server_that_is_taken_is_refused",
            "programs/test_refusals.py::test_what_a_key_may_publish",
            "programs/test_refusals.py::test_a_cancelled_name_is_gone_and_an_unknown_one_is_a_failure",
            "programs/test_refusals.py::test_nobody_cancels_another_ones_service",
            "programs/test_openssh.py::test_a_port_of_b_is_open_to_any_program",
            "programs/test_streams.py::test_a_port_of_b_closes_with_its_agent",
            "programs/test_end_to_end.py::test_a_forward_the_other_way_that_was_switched_on",
            "attacks/test_relay.py::test_an_open_for_what_was_not_published",
            "attacks/test_cut_messages.py::test_a_name_that_is_no_text",
            "agent/test_published.py::test_a_port_that_cannot_be_read_ends_the_leg",
        ),
    ),
    Group(
        "Local ports: that are taken, whose client is gone at once, whose stream is refused.",
        _in(
            "test_forward.py",
            "forward_local_port forward_local_port_accept_* forward_local_port_failure"
            " forward_bind_error_ipv? forward_immediate_eof",
        ),
        (
            "programs/test_matrix.py::test_programs_understand_one_another",
            "programs/test_exits.py::test_a_local_port_that_is_taken",
            "programs/test_streams.py::test_a_client_that_ends_at_once_still_gets_what_the_service_says",
            "programs/test_streams.py::test_a_client_that_breaks_off_is_gone_for_the_service_too",
            "programs/test_streams.py::test_a_service_that_is_not_published_is_said_to_be_so",
            "cli/test_in_earnest.py::test_a_forward_that_fails_ends_the_program_unless_told_otherwise",
        ),
    ),
    Group(
        "Unix sockets, on either side of a forward. B refuses them; A and C have them on their own"
        " machine, and at an sshd.",
        (
            *_in("test_channel.py", "unknown_unix_listener invalid_unix_listener"),
            *_in(
                "test_forward.py",
                "unix_* forward_local_path* forward_local_port_to_path* forward_remote_path*"
                " forward_specific_local_port_to_path forward_port_to_path_bind_error"
                " forward_remote_port_to_path cancel_forward_remote_path_*"
                " upstream_forward_local_path",
            ),
        ),
        (
            "cli/test_in_earnest.py::test_forwards_of_files_from_one_unix_socket_to_another",
            "cli/test_in_earnest.py::test_a_unix_socket_that_is_there_already",
            "cli/test_in_earnest.py::test_a_unix_socket_of_a_stock_sshd",
            "cli/test_in_earnest.py::test_a_unix_socket_is_refused_by_our_server",
            "programs/test_refusals.py::test_unix_sockets_are_not_forwarded",
        ),
    ),
    Group(
        "SOCKS.",
        _in("test_forward.py", "forward_socks* forward_bind_error_socks"),
        (
            "wire/test_socks.py::test_any_bytes_end_in_a_request_or_in_its_own_error",
            "wire/test_socks.py::test_what_is_refused",
            "programs/test_forwards.py::test_curl",
            "programs/test_forwards.py::test_netcat",
            "programs/test_forwards.py::test_a_refused_request_is_answered_before_the_end",
            "programs/test_socks_exit.py::test_content_and_halves",
            "programs/test_names.py::test_the_address_to_listen_on",
        ),
    ),
    Group(
        "Sessions within a channel of another: jump hosts and tunnels.",
        (
            *_in("test_forward.py", "ssh_*tunnel* proxy_jump*"),
            *_in(
                "test_connection.py",
                "get_server_host_key_tunnel canonicalize_always canonicalize_proxy",
            ),
        ),
        (
            "programs/test_end_to_end.py::test_a_large_exchange_arrives_whole",
            "programs/test_end_to_end.py::test_all_mixes_with_openssh",
            "programs/test_end_to_end.py::test_over_two_relays",
            "programs/test_end_to_end.py::test_proxy_jump_of_ssh_config",
            "programs/test_end_to_end.py::test_user_and_port_of_a_jump",
            "programs/test_end_to_end.py::test_streams_break_when_the_outer_leg_does",
            "io/test_nested.py::test_inner_packets_in_any_pieces",
            "io/test_nested.py::test_a_peer_with_small_windows_and_packets",
            "io/test_nested_ends.py::test_the_far_side_ends_it",
            "cli/test_ssh_files.py::test_jump_hosts_and_their_own_configuration",
            "cli/test_ssh_files.py::test_canonical_names",
            "trust/test_identities.py::test_the_agent_signs_for_a_key_that_has_a_passphrase_and_for_certificates",
        ),
    ),
    Group(
        "Other programs on the other side.",
        _in("test_channel.py", "dropbear_client dropbear_server"),
        (
            "programs/test_matrix.py::test_programs_understand_one_another",
            "programs/test_openssh.py::test_other_clients_as_a",
            "programs/test_peers.py::test_clients_connect_without_flags",
            "programs/test_peers.py::test_paramiko_connects_without_flags",
        ),
    ),
    Group(
        "All of these once more while keys are changed all the time, under a cipher without the"
        " fast path, and in pieces of seven bytes.",
        (),
        (
            "programs/test_rekey.py::test_keys_change_under_load",
            "programs/test_rekey.py::test_keys_change_under_a_slow_cipher",
            "programs/test_ciphers.py::test_content_arrives_whole",
            "attacks/test_key_changes.py::test_token_streams_while_keys_change",
            "ssh/test_leg.py::test_what_comes_while_keys_change_waits_in_its_order",
            "ssh/test_leg.py::test_in_pieces_is_as_at_once",
            "ssh/test_leg.py::test_byte_by_byte",
        ),
    ),
)


def is_of_channels(test: str) -> bool:
    """Is this test of asyncssh's in a group?"""
    return any(group.has(test) for group in GROUPS)
