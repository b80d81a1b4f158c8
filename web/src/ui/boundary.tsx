// A page that fails says so in a sentence; the rest of the atlas stays usable.
import { Component, type ComponentChildren } from "preact";

interface Props {
  what: string;
  children: ComponentChildren;
}

export class Boundary extends Component<Props, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }

  override componentDidUpdate(before: Props): void {
    if (before.what !== this.props.what && this.state.error) this.setState({ error: null });
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <p class="error" role="alert">
        This page could not be drawn: {error.message}. The other pages are not affected; please report it with
        the address of this page.
      </p>
    );
  }
}
